/**
 * Ports of a PC that are not the cell's. Jailhouse parks a processor that touches one, with these words (hypervisor/arch/x86/vcpu.c),
 * and a cell without processors is over. It does so at every port that the cell's configuration does not list; here those count
 * where a PC has its older chips, and others are empty.
 */

import { PM_TIMER } from '../../devices/acpi-pm.ts';
import {
  ACPI_PM_PORT,
  COPROCESSOR_PORT,
  EDGE_LEVEL_PORT,
  KEYBOARD_COMMAND_PORT,
  KEYBOARD_DATA_PORT,
  PIC_FIRST_PORT,
  PIC_SECOND_PORT,
  PIT_PORT,
  RTC_PORT,
  SYSTEM_PORT_A,
  SYSTEM_PORT_B,
} from '../../devices/pc-layout.ts';
import type { BusHandler, Width } from '../../memory/bus.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';

const FORBIDDEN: readonly (readonly [name: string, port: number, size: number])[] = [
  ['pic-1', PIC_FIRST_PORT, 2],
  ['pic-2', PIC_SECOND_PORT, 2],
  ['edge-level', EDGE_LEVEL_PORT, 2],
  ['pit', PIT_PORT, 4],
  ['keyboard-data', KEYBOARD_DATA_PORT, 1],
  ['system-port-b', SYSTEM_PORT_B, 1],
  ['keyboard-command', KEYBOARD_COMMAND_PORT, 1],
  ['cmos-rtc', RTC_PORT, 2],
  ['system-port-a', SYSTEM_PORT_A, 1],
  ['coprocessor-error', COPROCESSOR_PORT, 2],
  ['acpi-pm', ACPI_PM_PORT, PM_TIMER],
];

/** Watches the ports of chips that a cell does not have. */
export function guardPorts({ ports, kill }: HypervisorContext): void {
  for (const [name, start, size] of FORBIDDEN) {
    const violation = (access: 'read' | 'write', offset: number, width: Width) =>
      kill(
        `FATAL: Invalid PIO ${access}, port: ${(start + offset).toString(16)} size: ${width}: no cell has the ${name}`,
      );
    const handler: BusHandler = {
      read(offset, width) {
        violation('read', offset, width);
        return 2 ** (8 * width) - 1;
      },
      write: (offset, width) => violation('write', offset, width),
    };
    ports.map(`jailhouse-${name}`, start, size, handler);
  }
}
