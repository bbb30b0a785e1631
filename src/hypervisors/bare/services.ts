/**
 * What bare hardware gives a hypervisor that stands on it: the TSC, the local APIC, a UART behind the I/O APIC, ACPI's registers. The
 * frequencies are those that it would measure.
 */
import { PM1_CONTROL, SLEEP_TYPE_S5 } from '../../devices/acpi-pm.ts';
import {
  DIVIDE,
  EOI,
  ICR_HIGH,
  ICR_LOW,
  INITIAL_COUNT,
  LVT_TIMER,
  SOFTWARE_ENABLED,
  SVR,
} from '../../devices/apic-registers.ts';
import { APIC_TIMER_FREQUENCY } from '../../devices/apic-timer.ts';
import { LOCAL_APIC_BASE } from '../../devices/local-apic.ts';
import { ACPI_PM_PORT, COM1_IRQ, COM1_PORT, IO_APIC_ADDRESS, RESET_PORT } from '../../devices/pc-layout.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { type Below, SERVICE_VECTORS, type Services } from '../../paravirt/services.ts';

/** The local APIC (SDM 3A, chapter 11). */
const SPURIOUS_VECTOR = 0xff;
const DIVIDE_BY_1 = 0xb;
const ICR_ASSERT = 0x4000;
const ICR_START_UP = 0x4600;
const MOST_COUNTS = 2 ** 32 - 1;
/** The I/O APIC's window, and where a line's entry begins. */
const IO_APIC_DATA = 0x10;
const redirection = (line: number) => 0x10 + 2 * line;
/** The UART 16550. */
const INTERRUPT_ENABLE = 1;
const FIFO_CONTROL = 2;
const LINE_STATUS = 5;
const RECEIVED = 1;
const CAN_SEND = 0x20;
/** PM1 control: SLP_EN, and where SLP_TYP begins. RESET_PORT: a hard reset. */
const SLEEP_ENABLE = 1 << 13;
const SLEEP_TYPE_SHIFT = 10;
const HARD_RESET = 6;

export function nativeServices({ context }: Below): Services {
  const { ports, mmio, clock } = context;
  const apic = (cpu: Processor, register: number, value: number) =>
    mmio.write(LOCAL_APIC_BASE + register, 4, value, cpu);
  const command = (cpu: Processor, target: Processor, low: number) => {
    apic(cpu, ICR_HIGH, ((target.interrupts?.id ?? target.id) << 24) >>> 0);
    apic(cpu, ICR_LOW, low);
  };
  const ioApic = (cpu: Processor, register: number, value: number) => {
    mmio.write(IO_APIC_ADDRESS, 4, register, cpu);
    mmio.write(IO_APIC_ADDRESS + IO_APIC_DATA, 4, value, cpu);
  };
  const lineStatus = (cpu: Processor) => ports.read(COM1_PORT + LINE_STATUS, 1, cpu);
  const now = (cpu: Processor) => Number((cpu.tsc.read() * 1_000_000_000n) / BigInt(cpu.tsc.frequency));

  return {
    initialise(cpu) {
      apic(cpu, SVR, SOFTWARE_ENABLED | SPURIOUS_VECTOR);
      apic(cpu, DIVIDE, DIVIDE_BY_1);
      apic(cpu, LVT_TIMER, SERVICE_VECTORS.timer);
      if (cpu.id !== 0) return;
      ioApic(cpu, redirection(COM1_IRQ) + 1, ((cpu.interrupts?.id ?? 0) << 24) >>> 0);
      ioApic(cpu, redirection(COM1_IRQ), SERVICE_VECTORS.console);
      ports.write(COM1_PORT + FIFO_CONTROL, 1, 1, cpu);
      ports.write(COM1_PORT + INTERRUPT_ENABLE, 1, RECEIVED, cpu);
    },
    now,
    epoch: () => clock.epoch,
    setTimer(cpu, at) {
      const counts = at === undefined ? 0 : Math.ceil(((at - now(cpu)) * APIC_TIMER_FREQUENCY) / 1e9);
      apic(cpu, INITIAL_COUNT, at === undefined ? 0 : Math.max(1, Math.min(counts, MOST_COUNTS)));
    },
    endOfInterrupt: cpu => apic(cpu, EOI, 0),
    sendIpi: (cpu, target, vector) => command(cpu, target, ICR_ASSERT | vector),
    // One that has not been started waits for this message since its reset; where it begins is up to whoever takes it.
    startProcessor: (cpu, target) => command(cpu, target, ICR_START_UP),
    yield: cpu => cpu.yield(),
    halt: cpu => cpu.halt(),
    writeConsole(cpu, data) {
      for (const byte of data) {
        if (!(lineStatus(cpu) & CAN_SEND)) return;
        ports.write(COM1_PORT, 1, byte, cpu);
      }
    },
    readConsole(cpu) {
      const bytes: number[] = [];
      while (bytes.length < 4096 && lineStatus(cpu) & RECEIVED) bytes.push(ports.read(COM1_PORT, 1, cpu));
      return Uint8Array.from(bytes);
    },
    powerOff: cpu =>
      ports.write(ACPI_PM_PORT + PM1_CONTROL, 2, SLEEP_ENABLE | (SLEEP_TYPE_S5 << SLEEP_TYPE_SHIFT), cpu),
    reset: cpu => ports.write(RESET_PORT, 1, HARD_RESET, cpu),
  };
}
