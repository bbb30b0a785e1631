/**
 * The board of guests whose hypervisor brings its own devices (Xen's PVH): local APICs, so that processors can be
 * timed and can interrupt one another, and nothing else.
 */
import { ApicBus } from './apic-bus.ts';
import { type Board, type BoardOptions, restoring } from './board.ts';
import type { Device, Slot } from './device.ts';
import { LOCAL_APIC_BASE } from './local-apic.ts';
import { createLocalApics, NO_INTERRUPTS } from './local-apics.ts';

export function createLocalApicBoard(options: Omit<BoardOptions, 'console' | 'backEnds'>): Board {
  const { clock, memory, log } = options;
  const bus = new ApicBus();
  const slot: Slot = {
    ports: (name, start, size, handler) => options.ports.map(name, start, size, handler),
    mmio: (name, start, size, handler) => options.mmio.map(name, start, size, handler),
    // There is no I/O APIC for a wire to end at; messages are the way.
    line: () => ({ set: () => {} }),
    message: (address, data) => void bus.message(address, data),
    state: (name, version, initial) => options.states.state(name, version, initial),
    clock,
    memory,
    log,
    kill: options.kill,
    request: options.request,
  };
  const apics = createLocalApics({
    slot,
    bus,
    tscs: options.tscs,
    apicIds: options.apicIds,
    external: NO_INTERRUPTS,
    physicalAddressBits: options.physicalAddressBits,
  });
  const devices: Device[] = [...apics];
  return {
    slot,
    localApics: apics,
    devices,
    add(device) {
      devices.push(device);
    },
    edge() {},
    unplug() {},
    description: {
      processors: apics.map(({ id }, uid) => ({ uid, apicId: id })),
      localApicAddress: LOCAL_APIC_BASE,
      ioApics: [],
      pic: false,
      overrides: [],
      nmiPin: 1,
      serialPorts: [],
    },
    reset() {
      for (const device of devices) device.reset();
    },
    ...restoring(devices),
    flush: () => {},
    pressPowerButton: () => {},
    requestMemory: () => {},
  };
}
