/**
 * A network as devices see it: Ethernet frames out of the guest, and into it. Whoever fulfils this contract bridges a
 * machine to anything: `userNetwork` (net/user-network.ts) to the host's sockets, `createSwitch` (net/switch.ts) to other
 * machines, an embedder's own to whatever it likes. Frames have no preamble and no frame check sequence; without offloads they
 * are 14 to 1514 bytes long.
 */
import type { Clock } from './clock.ts';
import type { Log } from './log.ts';

/** What the sender of a frame has left undone. A guest's driver leaves it to its device, which leaves it to the network. */
export interface Offload {
  /**
   * The checksum of TCP or UDP is not complete: it goes from byte `start` of the frame to its end, and stands at byte `at`,
   * where so far the sum of the pseudo-header is (not complemented).
   */
  readonly start: number;
  readonly at: number;
  /** Bytes of TCP payload that each of the frames has which this one (at most 64 KiB) stands for; 0 if it is to stay one. */
  readonly segment: number;
}

/** What a network is connected to: the socket at the back of a machine. */
export interface NetworkPort {
  /** The guest's time. A network that needs timers makes them here, named after itself, when it is connected. */
  readonly clock: Clock;
  readonly log: Log;
  /**
   * Takes a frame for the guest, which keeps the array. It arrives when the machine next looks at its host. One that the
   * guest has no room for is lost, as on a wire.
   */
  receive(frame: Uint8Array, offload?: Offload): void;
}

export interface Network {
  /** For people, and in the names of timers; a machine's networks have different ones. */
  readonly name: string;
  /** As a disk's: the bus with the device that it is behind. */
  readonly bus?: string | undefined;
  /** Left out, without a word, where the machine has no device for it. */
  readonly optional?: boolean;
  /** Six bytes for the guest's network card. Left out, the machine makes one up from the card's place. */
  readonly mac?: Uint8Array;
  /** True if `send` takes frames with an `Offload`. Otherwise it gets complete ones. */
  readonly offloads?: boolean;
  /** Called once, when the machine is built. */
  connect(port: NetworkPort): void;
  /** The guest sends `frame`. The array is the callee's to keep. What comes in answer may be given to the port at once. */
  send(frame: Uint8Array, offload?: Offload): void;
  /**
   * True while something outside may send by itself, as when a connection is open: then the time of a halted guest passes as the
   * host's does. While it is false, guest time on the virtual clock jumps, and runs repeat. Default true.
   */
  readonly awaits?: boolean;
  /** What is known of the guest's addresses, in text: for reports. */
  readonly guestAddresses?: readonly string[];
  /** The machine is no more. */
  close?(): void;
}
