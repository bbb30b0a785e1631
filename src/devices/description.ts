/**
 * What a board tells about itself, in the terms of firmware tables: the addresses and lines that boot/acpi.ts puts
 * before the guest. The board that wires the devices fills it in, so no address is written down twice.
 */

export interface Interval {
  /** First address or port. */
  start: number;
  /** Last one, inclusive. */
  end: number;
}

export interface BoardDescription {
  processors: readonly { uid: number; apicId: number }[];
  localApicAddress: number;
  ioApics: readonly { id: number; address: number; firstGsi: number }[];
  /** True if the same lines also reach a pair of 8259s. */
  pic: boolean;
  /** ISA lines that are not edge-triggered, active high and wired to the global interrupt of the same number. */
  overrides: readonly { irq: number; gsi: number; level: boolean; activeLow: boolean }[];
  /** The local interrupt pin that carries NMI. */
  nmiPin: 0 | 1;
  hpet?: { id: number; address: number };
  /** ACPI's fixed hardware, by port. */
  powerManagement?: {
    eventBlock: number;
    controlBlock: number;
    timer: number;
    sci: number;
    sleepTypeS5: number;
  };
  /** What to write where for a reset. */
  reset?: { port: number; value: number };
  rtc?: { port: number; irq: number; centuryRegister: number };
  /** An i8042 with a keyboard. */
  keyboard?: { dataPort: number; commandPort: number; irq: number };
  serialPorts: readonly { port: number; size: number; irq: number }[];
  pci?: {
    /** Configuration mechanism 1. */
    configurationPorts: Interval;
    buses: Interval;
    ioWindows: readonly Interval[];
    memoryWindows: readonly Interval[];
    /** Where each device's pins (0 is INTA) arrive. */
    interrupts: readonly { device: number; pin: number; gsi: number }[];
  };
}
