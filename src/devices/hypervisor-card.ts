/** A card of a hypervisor's, as a device on the board's PCI bus. */
import type { PciCard } from '../paravirt/pci-card.ts';
import type { Device, Slot } from './device.ts';
import { CARD_MEMORY, CARD_MEMORY_WINDOW, CARD_PORTS, CARD_PORTS_WINDOW } from './pc-layout.ts';
import { PciFunction } from './pci.ts';
import { placeOf } from './pci-disks.ts';

const PORTS_BAR = 0;
const MEMORY_BAR = 1;

export class HypervisorCard implements Device {
  readonly name: string;
  readonly function: PciFunction;

  /** @param number which of these cards it is @param index its place on the bus */
  constructor(slot: Slot, { name, identity, ports, memory }: PciCard, number: number, index: number) {
    this.name = name;
    this.function = new PciFunction(slot, name, identity, placeOf(slot, index).wiring);
    if (ports) this.function.addPortBar(PORTS_BAR, ports.size, CARD_PORTS + number * CARD_PORTS_WINDOW, ports.handler);
    if (memory) this.function.addBar(MEMORY_BAR, memory, CARD_MEMORY + number * CARD_MEMORY_WINDOW, undefined);
    this.function.attach();
  }

  reset(): void {}
}
