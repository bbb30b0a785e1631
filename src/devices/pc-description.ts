/** What the PC says of itself, for the firmware tables. */
import { PM_TIMER, PM1_CONTROL, PM1_EVENT, SLEEP_TYPE_S5 } from './acpi-pm.ts';
import { RTC_CENTURY } from './cmos-rtc.ts';
import type { BoardDescription } from './description.ts';
import { HPET_ID } from './hpet.ts';
import { LOCAL_APIC_BASE } from './local-apic.ts';
import {
  ACPI_PM_PORT,
  COM1_IRQ,
  COM1_PORT,
  COM2_IRQ,
  COM2_PORT,
  HPET_ADDRESS,
  IO_APIC_ADDRESS,
  KEYBOARD_COMMAND_PORT,
  KEYBOARD_DATA_PORT,
  KEYBOARD_IRQ,
  LEVEL_IRQS,
  PCI_ADDRESS_PORT,
  PCI_DATA_PORT,
  PCI_IO,
  PCI_MEMORY,
  pciIrq,
  RESET_PORT,
  RTC_IRQ,
  RTC_PORT,
  SCI_IRQ,
  TIMER_GSI,
  TIMER_IRQ,
} from './pc-layout.ts';
import { FULL_RESET } from './reset-control.ts';

/**
 * @param apicIds of the processors, in their order
 * @param pciDevices numbers of the PCI devices that have an interrupt pin
 * @param hasCom2 the board has a second serial port
 */
export function describePc(
  apicIds: readonly number[],
  pciDevices: readonly number[],
  hasCom2: boolean,
): BoardDescription {
  return {
    processors: apicIds.map((apicId, uid) => ({ uid, apicId })),
    localApicAddress: LOCAL_APIC_BASE,
    ioApics: [{ id: 0, address: IO_APIC_ADDRESS, firstGsi: 0 }],
    pic: true,
    overrides: [
      { irq: TIMER_IRQ, gsi: TIMER_GSI, level: false, activeLow: false },
      { irq: SCI_IRQ, gsi: SCI_IRQ, level: true, activeLow: false },
      // PCI's pins are active low by nature; to the I/O APIC it is all the same.
      ...LEVEL_IRQS.filter(irq => irq !== SCI_IRQ).map(irq => ({ irq, gsi: irq, level: true, activeLow: true })),
    ],
    nmiPin: 1,
    hpet: { id: HPET_ID, address: HPET_ADDRESS },
    powerManagement: {
      eventBlock: ACPI_PM_PORT + PM1_EVENT,
      controlBlock: ACPI_PM_PORT + PM1_CONTROL,
      timer: ACPI_PM_PORT + PM_TIMER,
      sci: SCI_IRQ,
      sleepTypeS5: SLEEP_TYPE_S5,
    },
    reset: { port: RESET_PORT, value: FULL_RESET },
    rtc: { port: RTC_PORT, irq: RTC_IRQ, centuryRegister: RTC_CENTURY },
    keyboard: { dataPort: KEYBOARD_DATA_PORT, commandPort: KEYBOARD_COMMAND_PORT, irq: KEYBOARD_IRQ },
    serialPorts: [
      { port: COM1_PORT, size: 8, irq: COM1_IRQ },
      ...(hasCom2 ? [{ port: COM2_PORT, size: 8, irq: COM2_IRQ }] : []),
    ],
    pci: {
      configurationPorts: { start: PCI_ADDRESS_PORT, end: PCI_DATA_PORT + 3 },
      buses: { start: 0, end: 0 },
      ioWindows: PCI_IO,
      memoryWindows: [PCI_MEMORY],
      interrupts: pciDevices.map(device => ({ device, pin: 0, gsi: pciIrq(device) })),
    },
  };
}
