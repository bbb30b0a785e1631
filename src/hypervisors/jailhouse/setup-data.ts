/** What a cell is told of itself: struct jailhouse_setup_data (Linux arch/x86/include/uapi/asm/bootparam.h). */
import { PM_TIMER } from '../../devices/acpi-pm.ts';
import { APIC_TIMER_FREQUENCY } from '../../devices/apic-timer.ts';
import { ACPI_PM_PORT } from '../../devices/pc-layout.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';

/** The type of its node in the list setup_data. */
export const SETUP_JAILHOUSE = 6;
/** Version 2 has flags behind the processors; a kernel that knows version 1 reads as much as it knows. */
const VERSION = 2;
const COMPATIBLE_VERSION = 1;
/** Bit N: the cell has the PC's Nth UART. */
const FLAG_COM1 = 1 << 0;
const FLAG_COM2 = 1 << 1;

/** struct jailhouse_setup_data, packed. */
export const JAILHOUSE_SETUP = {
  version: 0,
  compatible_version: 2,
  pm_timer_address: 4,
  num_cpus: 6,
  /** 0: PCI's configuration space is reached by ports alone. */
  pci_mmconfig_base: 8,
  tsc_khz: 16,
  apic_khz: 20,
  standard_ioapic: 24,
  /** Local APIC ids, a byte each. */
  cpu_ids: 25,
  flags: 280,
} as const;
const SIZE = 284;
const MOST_CPUS = JAILHOUSE_SETUP.flags - JAILHOUSE_SETUP.cpu_ids;

export function describeCell({ cpus, backEnds }: HypervisorContext): Uint8Array {
  const data = new Uint8Array(SIZE);
  const view = new DataView(data.buffer);
  const kilohertz = (frequency: number) => Math.floor(frequency / 1000);
  const ids = cpus.slice(0, MOST_CPUS).map(cpu => cpu.interrupts?.id ?? cpu.id);
  view.setUint16(JAILHOUSE_SETUP.version, VERSION, true);
  view.setUint16(JAILHOUSE_SETUP.compatible_version, COMPATIBLE_VERSION, true);
  view.setUint16(JAILHOUSE_SETUP.pm_timer_address, ACPI_PM_PORT + PM_TIMER, true);
  view.setUint16(JAILHOUSE_SETUP.num_cpus, ids.length, true);
  view.setUint32(JAILHOUSE_SETUP.tsc_khz, kilohertz(cpus[0]!.tsc.frequency), true);
  view.setUint32(JAILHOUSE_SETUP.apic_khz, kilohertz(APIC_TIMER_FREQUENCY), true);
  data[JAILHOUSE_SETUP.standard_ioapic] = 1;
  data.set(ids, JAILHOUSE_SETUP.cpu_ids);
  view.setUint32(JAILHOUSE_SETUP.flags, FLAG_COM1 | (backEnds.serial ? FLAG_COM2 : 0), true);
  return data;
}
