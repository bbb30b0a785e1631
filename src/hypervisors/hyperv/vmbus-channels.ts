/** The channels of a VMBus: which device is behind which, who is signalled, and whose turn it is. */
import type { PluggableFactory, VmbusDevice, VmbusDeviceFactory } from '../../devices/vmbus/channel.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { State } from '../../state/state.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';
import { type GpadlState, Gpadls } from './gpadls.ts';
import type { Synic } from './synic.ts';
import { Channel, initialChannel } from './vmbus-channel.ts';
import {
  CHANNELMSG_RESCIND_CHANNELOFFER,
  HVMSG_VMBUS,
  message,
  offerMessage,
  refusalMessage,
  VERSION_WIN10_V5,
} from './vmbus-messages.ts';

/** A channel's connection is its relid more than this. */
export const FIRST_CHANNEL_CONNECTION = 0x10000;

/** The page of interrupts has a bit for each channel in its halves: to the guest, and from it. */
const HALF_PAGE = PAGE_SIZE / 2;

/** @param pluggable so many channels come and go: they follow the others */
export const initialBus = (channels: number, pluggable: number) => ({
  /**
   * Where answers go, as the last contact said; undefined: there is none, and they go to the processor that posts.
   */
  peer: undefined as { processor: number; sint: number } | undefined,
  version: 0,
  /** The page of interrupts of versions before 2.4; undefined: signals have flags of their own. */
  interruptPage: undefined as number | undefined,
  /** The guest has asked what there is. */
  offered: false,
  gpadls: new Map() as GpadlState,
  /** By relid, less one. */
  channels: Array.from({ length: channels + pluggable }, (_, index) => ({
    ...initialChannel(),
    ...(index < channels ? {} : { phase: 'absent' as const }),
  })) as ReturnType<typeof initialChannel>[],
});

export type BusState = State<ReturnType<typeof initialBus>>;

export interface Channels {
  readonly devices: readonly VmbusDevice[];
  readonly gpadls: Gpadls;
  of(relid: number): Channel | undefined;
  /** The guest has signalled a channel. */
  serve(channel: Channel): void;
  /** The guest has set bits in the page of interrupts for the channels that it means. */
  serveFlagged(): void;
  /** Nobody is connected any more: channels are closed, what the guest handed over is its own again. */
  forget(): void;
}

/** @param factories make the devices, in the order in which guests hear of them; @param pluggable make those that come and go */
export function createChannels(
  context: HypervisorContext,
  synic: Synic,
  factories: readonly VmbusDeviceFactory[],
  pluggable: readonly PluggableFactory[],
  state: BusState,
): Channels {
  const { cpus, memory, clock, log } = context;
  const gpadls = new Gpadls(context, state);
  const work = clock.timer('hyperv/vmbus', () => {
    for (const channel of channels) if (channel.state.busy) serve(channel);
  });

  const devices: VmbusDevice[] = [];
  const channels = [...factories, ...pluggable].map((make, index) => {
    const relid = index + 1;
    const channel: Channel = new Channel({
      ...{ relid, gpadls, log },
      state: () => state.channels[index],
      device: () => devices[index],
      interrupt: () => interruptGuest(relid, state.channels[index].target),
      isHeard: () => state.offered,
      offer: offer => state.offered && tell(offerMessage(offer, relid, FIRST_CHANNEL_CONNECTION + relid)),
      rescind: () => state.offered && tell(message(CHANNELMSG_RESCIND_CHANNELOFFER, relid)),
      refuse({ type, instance }) {
        if (state.version >= VERSION_WIN10_V5) tell(refusalMessage(instance, type));
      },
    });
    const states = { state: context.state, memory, clock, log };
    devices.push(make(states, channel));
    return channel;
  });

  /** Sends a message that nobody has asked for. @returns false if there is no peer, or no room */
  function tell(payload: Uint8Array): boolean {
    const { peer } = state;
    const cpu = peer && cpus.find(({ id }) => id === peer.processor);
    return cpu !== undefined && synic.post(cpu, peer!.sint, { type: HVMSG_VMBUS, payload, timer: undefined });
  }

  /** Sets the event flag of a channel; before version 2.4, its bit in the page of interrupts and the only flag. */
  function interruptGuest(relid: number, target: number): void {
    const { peer, interruptPage } = state;
    const cpu = cpus.find(({ id }) => id === target);
    if (!peer || !cpu) return;
    if (interruptPage !== undefined) setBit(interruptPage, relid);
    synic.signal(cpu, peer.sint, interruptPage === undefined ? relid : 0);
  }

  function setBit(page: number, bit: number): void {
    const address = page + (bit >> 3);
    memory.write8(address, memory.read8(address) | (1 << (bit & 7)));
  }

  function serve(channel: Channel): void {
    if (channel.serve()) work.at(clock.now());
  }

  function serveFlagged(): void {
    const { interruptPage } = state;
    for (const [index, channel] of channels.entries()) {
      const relid = index + 1;
      const address = (interruptPage ?? 0) + HALF_PAGE + (relid >> 3);
      const bit = 1 << (relid & 7);
      if (interruptPage === undefined || !(memory.read8(address) & bit)) continue;
      memory.write8(address, memory.read8(address) & ~bit);
      serve(channel);
    }
  }

  function forget(): void {
    for (const channel of channels) channel.close();
    const lost = channels.map(({ isLost }) => isLost);
    work.off();
    state.initialise();
    for (const [index, channel] of channels.entries()) {
      if (channel.isPluggable) devices[index].lost?.();
      else if (lost[index]) channel.state.phase = 'gone';
    }
  }

  return { devices, gpadls, of: relid => channels[relid - 1], serve, serveFlagged, forget };
}
