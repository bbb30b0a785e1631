/**
 * The networks between the machine and the embedder: what the guest sends passes through; what comes for it enters the machine in one
 * place and at one time, when the loop next looks at its clock, so that it can be counted, and be the same when it is given again.
 */
import { MachineClock } from '../clock.ts';
import type { Clock } from '../host/clock.ts';
import type { Network, NetworkPort, Offload } from '../host/network.ts';
import { portableClock } from '../host/portable-clock.ts';
import type { Door } from '../replay/door.ts';

export interface NetworkStatistics {
  name: string;
  /** What is known of the guest's addresses. */
  addresses: string[];
  /** Out of the guest, and into it. Frames that stand for several count once. */
  sent: { frames: number; bytes: number };
  received: { frames: number; bytes: number };
  /** Came for the guest faster than it was looked at. */
  lost: number;
}

export interface NetworkInput {
  /** For the devices. */
  readonly networks: readonly Network[];
  /** True while something outside may send by itself. */
  readonly awaits: boolean;
  /** The time of the networks, where it is not the guest's: what they do is recorded, and not done again. */
  readonly outside: MachineClock | undefined;
  /** A frame that comes by the door. */
  accept(network: number, frame: Uint8Array, offload: Offload | undefined): void;
  statistics(): NetworkStatistics[];
  close(): void;
}

/** Bytes for the guest that may wait for the loop. */
const WAITING_BYTES = 2 ** 24;

/**
 * @param before called when a frame has arrived, before the guest's time is looked at @param after when it has been noted: the
 * loop is to look at its clock
 */
export function createNetworkInput(
  outside: readonly Network[],
  clock: Clock,
  before: () => void,
  after: () => void,
  door?: Door,
): NetworkInput {
  const started = portableClock.now();
  const time = door && new MachineClock(() => portableClock.now() - started, 0n);
  const gates = outside.map((network, index) => createGate(network, index, { clock, before, after, door, time }));
  return {
    outside: time,
    accept: (index, frame, offload) => gates[index]?.accept(frame, offload),
    networks: gates.map(({ inside }) => inside),
    get awaits() {
      return outside.some(({ awaits = true }) => awaits);
    },
    statistics: () => gates.filter(({ connected }) => connected()).map(({ statistics }) => statistics()),
    close: () => outside.forEach(network => network.close?.()),
  };
}

interface GateParts {
  clock: Clock;
  before(): void;
  after(): void;
  door: Door | undefined;
  time: Clock | undefined;
}

function createGate(network: Network, index: number, { clock, before, after, door, time }: GateParts) {
  const [sent, received] = [
    { frames: 0, bytes: 0 },
    { frames: 0, bytes: 0 },
  ];
  let waiting: { frame: Uint8Array; offload: Offload | undefined }[] = [];
  let waitingBytes = 0;
  let lost = 0;
  const cards: NetworkPort[] = [];
  const arrival = clock.timer(`network-input/${index}`, () => {
    const frames = waiting;
    waiting = [];
    waitingBytes = 0;
    for (const { frame, offload } of frames) {
      received.frames++;
      received.bytes += frame.length;
      // Each keeps the array.
      for (const [index, card] of cards.entries()) card.receive(index === 0 ? frame : frame.slice(), offload);
    }
  });
  const accept = (frame: Uint8Array, offload?: Offload) => {
    if (waitingBytes + frame.length > WAITING_BYTES) {
      lost++;
      return;
    }
    waitingBytes += frame.length;
    waiting.push({ frame, offload });
    if (waiting.length > 1) return;
    before();
    arrival.at(clock.now());
    after();
  };
  const receive = door ? (frame: Uint8Array, offload?: Offload) => door.inputs.frame(index, frame, offload) : accept;
  const inside: Network = {
    name: network.name,
    bus: network.bus,
    optional: network.optional ?? false,
    ...(network.mac && { mac: network.mac }),
    offloads: network.offloads ?? false,
    connect(port) {
      // A guest that has several cards of one network (its own, and its hypervisor's) uses one of them.
      if (cards.push(port) > 1) return;
      network.connect({ clock: time ?? clock, log: port.log, receive });
    },
    send(frame, offload) {
      sent.frames++;
      sent.bytes += frame.length;
      network.send(frame, offload);
    },
  };
  return {
    inside,
    accept,
    connected: () => cards.length > 0,
    statistics: (): NetworkStatistics => ({
      name: network.name,
      addresses: [...(network.guestAddresses ?? [])],
      sent: { ...sent },
      received: { ...received },
      lost,
    }),
  };
}
