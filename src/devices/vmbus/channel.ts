/**
 * What a device on the VMBus is, and what it stands on: a channel, which is a ring in each direction in the guest's memory,
 * and buffers that the guest has handed over (GPADLs). The hypervisor's folder fulfils the channel; nothing here knows how.
 */
import type { Clock } from '../../host/clock.ts';
import type { Log } from '../../host/log.ts';
import type { GuestMemory } from '../../memory/memory.ts';
import type { States } from '../../state/state.ts';
import type { Packet, Sent } from './packet.ts';
import type { PagedBuffer } from './paged-buffer.ts';

/** How a device is offered to the guest. */
export interface Offer {
  /** What kind of device it is: a GUID, by which drivers find it. */
  readonly type: string;
  /** Which of its kind: a GUID that stays the same, since guests name the device by it. */
  readonly instance: string;
  /** The packets are messages of a pipe. */
  readonly pipe: boolean;
  /** It is a connection of Hyper-V's sockets: whether the host has begun it. */
  readonly socket?: { readonly fromHost: boolean };
}

/** A device, as the bus sees it. Its state is data: it is found again after a restore. */
export interface VmbusDevice {
  /** Its states and timers are named after it. */
  readonly name: string;
  /** undefined: its channel comes and goes (`PluggableChannel`). */
  readonly offer: Offer | undefined;
  /** The guest has opened the channel. */
  opened(): void;
  /** The guest has closed it, or is gone. */
  closed(): void;
  /**
   * The guest may have sent packets, or made room: deals with some of them.
   * @returns true if there may be more: the rest of the machine gets a turn first
   */
  serve(): boolean;
  /** The guest does not know of the channel any more, which is absent again. Only for those that come and go. */
  lost?(): void;
}

export interface VmbusChannel {
  readonly isOpen: boolean;
  /** Takes the guest's oldest packet; undefined where there is none. */
  receive(): Packet | undefined;
  /**
   * True if `send` has room for packets of so many bytes, descriptor included. If not, `serve` is called when the guest has
   * made room.
   */
  hasRoom(bytes: number): boolean;
  /** Sends a packet, and an interrupt where the guest wants one. @returns false if there is no room */
  send(packet: Sent): boolean;
  /** A buffer that the guest has handed over for this channel, by its handle. */
  buffer(handle: number): PagedBuffer | undefined;
}

/** A channel that comes and goes. It is absent at first, and when the guest has let go of it. */
export interface PluggableChannel extends VmbusChannel {
  /** The guest does not know of it. */
  readonly isAbsent: boolean;
  /** The guest has it, and was not told that it goes. */
  readonly isOffered: boolean;
  /** There is a guest that hears of new channels. */
  readonly isHeard: boolean;
  /** Tells the guest that the channel is there. @returns false if it cannot be told now */
  plug(offer: Offer): boolean;
  /** Takes the channel away from the guest, which lets go of it later. @returns false if it cannot be told now */
  unplug(): boolean;
  /** Tells the guest that what it asked for with a connection request is refused. */
  refuse(offer: Offer): void;
}

/** What the guest asks of the host with a connection request, which becomes a channel. */
export interface VmbusSockets {
  /** One for each channel that there can be at a time. */
  readonly factories: readonly PluggableFactory[];
  /**
   * The guest wants a channel whose type is `service` and whose instance is `endpoint`, both GUIDs.
   * @returns false: it is refused. Otherwise the answer may come later
   */
  connect(endpoint: string, service: string): boolean;
}

/** What the bus gives a device to be made of. */
export interface VmbusHost extends States {
  readonly memory: GuestMemory;
  readonly clock: Clock;
  readonly log: Log;
}

/** Makes a device for the channel that it will be reached by. */
export type VmbusDeviceFactory = (host: VmbusHost, channel: VmbusChannel) => VmbusDevice;

/** The same for a channel that comes and goes. */
export type PluggableFactory = (host: VmbusHost, channel: PluggableChannel) => VmbusDevice;
