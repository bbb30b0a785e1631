/**
 * Exceptions and device interrupts in real mode that nobody has a handler for: their vectors are those of BIOS services, or
 * stand between them. An exception would come again for ever, so it ends the run.
 */
import type { Bus } from '../../memory/bus.ts';
import type { Processor } from '../../paravirt/processor.ts';
import * as vectors from '../../x86/vectors.ts';
import type { BiosCall } from './call.ts';

/** Faults by vector: the instruction that they return to is the one that made them. */
const FAULTS: Readonly<Record<number, string>> = {
  [vectors.DE]: '#DE (divide error)',
  [vectors.BR]: '#BR (BOUND range exceeded)',
  [vectors.UD]: '#UD (undefined instruction)',
  [vectors.NM]: '#NM (no coprocessor)',
  [vectors.SS]: '#SS (outside of the stack segment)',
  [vectors.GP]: '#GP (outside of a segment, or a wrong instruction)',
};

/** Ports of the 8259s and the vectors that a BIOS gives them. */
const FIRST_PIC = 0x20;
const SECOND_PIC = 0xa0;
const FIRST_VECTOR = 0x08;
const SECOND_VECTOR = 0x70;
const INPUTS = 8;
/** Operation command words: end of interrupt; reads show the in-service register, or the requests. */
const END_OF_INTERRUPT = 0x20;
const READ_IN_SERVICE = 0x0b;
const READ_REQUESTS = 0x0a;

/** The name of the fault that led to the trap; undefined if it was something else. */
export function faultOf(call: BiosCall, vector: number): string | undefined {
  return vector in FAULTS && !call.isSoftwareInterrupt ? FAULTS[vector] : undefined;
}

/** Ends the interrupt of a device that led to `vector`. @returns false if none did */
export function endDeviceInterrupt(ports: Bus, vector: number, from: Processor): boolean {
  for (const [port, base] of [
    [FIRST_PIC, FIRST_VECTOR],
    [SECOND_PIC, SECOND_VECTOR],
  ]) {
    if (vector < base || vector >= base + INPUTS) continue;
    ports.write(port, 1, READ_IN_SERVICE, from);
    const inService = ports.read(port, 1, from) & (1 << (vector - base));
    ports.write(port, 1, READ_REQUESTS, from);
    if (!inService) return false;
    ports.write(port, 1, END_OF_INTERRUPT, from);
    if (port === SECOND_PIC) ports.write(FIRST_PIC, 1, END_OF_INTERRUPT, from);
    return true;
  }
  return false;
}

/** The 8259s and the timer as a BIOS leaves them: IRQ 0 comes 18.2 times a second, IRQ 2 for the second chip. */
export function startTimer(ports: Bus, from: Processor): void {
  const write = (port: number, ...values: number[]) => {
    for (const value of values) ports.write(port, 1, value, from);
  };
  // Initialisation words 1 to 4: edges, cascaded; the vectors; where the other chip is; 8086.
  write(FIRST_PIC, 0x11);
  write(FIRST_PIC + 1, FIRST_VECTOR, 1 << 2, 0x01);
  write(SECOND_PIC, 0x11);
  write(SECOND_PIC + 1, SECOND_VECTOR, 2, 0x01);
  write(FIRST_PIC + 1, 0xff & ~(1 << 0) & ~(1 << 2));
  write(SECOND_PIC + 1, 0xff);
  // Channel 0, low byte then high byte, mode 3; 0 means 65536.
  write(0x43, 0x36);
  write(0x40, 0, 0);
}
