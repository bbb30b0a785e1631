/**
 * Integration services: small conversations over a pipe between a guest and its host (Linux drivers/hv/hv_util.c, struct
 * icmsg_hdr in include/linux/hyperv.h). The host begins with the versions it knows; after that each service says what it has
 * to say.
 */
import type { Timer } from '../../host/clock.ts';
import { type State, scoped } from '../../state/state.ts';
import type { Offer, VmbusChannel, VmbusDevice, VmbusHost } from './channel.ts';
import { instanceGuid } from './guid.ts';
import { DESCRIPTOR_SIZE, VM_PKT_DATA_INBAND, viewOf } from './packet.ts';

/** A version, as two 16-bit numbers in memory: major, minor. */
export type Version = readonly [major: number, minor: number];

/** What makes one service differ from the next. */
export interface ServiceKind {
  readonly name: string;
  /** Of the device. */
  readonly type: string;
  readonly instance: Parameters<typeof instanceGuid>[0];
  /** enum ic_msg type. */
  readonly message: number;
  /** The best first. */
  readonly versions: readonly Version[];
}

/** Of the frame around the messages, the best first. */
const FRAME_VERSIONS: readonly Version[] = [
  [3, 0],
  [1, 0],
];

/** struct vmbuspipe_hdr: flags u32, bytes that follow u32. */
const PIPE_HEADER = 8;
const PIPE_MESSAGE = 1;
/** struct icmsg_hdr, from the packet's body: what follows is data. */
const FRAME_VERSION = 8;
const TYPE = 12;
const MESSAGE_VERSION = 14;
const SIZE = 18;
const STATUS = 20;
const TRANSACTION = 24;
const FLAGS = 25;
export const DATA = 28;
const NEGOTIATE = 0;
const FLAG_TRANSACTION = 1;
const FLAG_REQUEST = 2;
const FLAG_RESPONSE = 4;
/** Negotiation: frame versions u16, message versions u16, reserved u32, then the versions. */
const VERSIONS = DATA + 8;

/** The guest hears of a service when its channel has been open for so long, in nanoseconds. */
const GREETING_DELAY = 10_000_000;

const initial = () => ({
  /** What was agreed on; 0.0: nothing yet. */
  frame: [0, 0],
  version: [0, 0],
  /** Of the last message. */
  transaction: 0,
});

export abstract class IntegrationService implements VmbusDevice {
  readonly name: string;
  readonly offer: Offer;
  protected readonly host: VmbusHost;
  readonly #kind: ServiceKind;
  readonly #channel: VmbusChannel;
  readonly #state: State<ReturnType<typeof initial>>;
  readonly #timer: Timer;

  constructor(host: VmbusHost, channel: VmbusChannel, kind: ServiceKind) {
    const { name, type, instance } = kind;
    this.host = host;
    this.name = name;
    this.#kind = kind;
    this.#channel = channel;
    this.offer = { type, instance: instanceGuid(instance), pipe: true };
    this.#state = scoped(host, name).state('service', 1, initial);
    this.#timer = host.clock.timer(`vmbus/${name}`, () => this.#onTimer());
  }

  /** The guest has agreed on a version: [0, 0] before. */
  protected get version(): Version {
    const [major, minor] = this.#state.version;
    return [major, minor];
  }

  protected get isReady(): boolean {
    return this.#channel.isOpen && this.#state.version[0] !== 0;
  }

  /** Both have agreed. @returns nanoseconds until `again`; undefined: never */
  protected begin(): number | undefined {
    return undefined;
  }

  /** The time is over. @returns as `begin` */
  protected again(): number | undefined {
    return undefined;
  }

  /** The guest's answer to a message. @param data what it has made of it */
  protected answered(_data: Uint8Array, _status: number): void {}

  opened(): void {
    this.#state.initialise();
    this.#in(GREETING_DELAY);
  }

  closed(): void {
    this.#state.initialise();
    this.#timer.off();
  }

  serve(): boolean {
    for (let packet = this.#channel.receive(); packet; packet = this.#channel.receive())
      if (packet.type === VM_PKT_DATA_INBAND && packet.body.length >= DATA) this.#hear(packet.body);
    return false;
  }

  /** Sends a message. @returns false if the ring has no room */
  protected say(data: Uint8Array): boolean {
    return this.#send(this.#kind.message, data);
  }

  #in(nanoseconds: number | undefined): void {
    if (nanoseconds !== undefined) this.#timer.at(this.host.clock.now() + nanoseconds);
  }

  #onTimer(): void {
    if (this.isReady) this.#in(this.again());
    else this.#greet();
  }

  /** All versions of ours. */
  #greet(): void {
    const { versions } = this.#kind;
    const data = new Uint8Array(VERSIONS - DATA + 4 * (FRAME_VERSIONS.length + versions.length));
    const view = viewOf(data);
    view.setUint16(0, FRAME_VERSIONS.length, true);
    view.setUint16(2, versions.length, true);
    for (const [index, [major, minor]] of [...FRAME_VERSIONS, ...versions].entries()) {
      view.setUint16(VERSIONS - DATA + 4 * index, major, true);
      view.setUint16(VERSIONS - DATA + 4 * index + 2, minor, true);
    }
    this.#send(NEGOTIATE, data);
  }

  #send(type: number, data: Uint8Array): boolean {
    const body = new Uint8Array(DATA + data.length);
    const view = viewOf(body);
    const { frame, version } = this.#state;
    const state = this.#state;
    state.transaction = (state.transaction + 1) & 0xff;
    view.setUint32(0, PIPE_MESSAGE, true);
    view.setUint32(4, body.length - PIPE_HEADER, true);
    for (const [at, [major, minor]] of [
      [FRAME_VERSION, frame],
      [MESSAGE_VERSION, version],
    ] as const) {
      view.setUint16(at, major, true);
      view.setUint16(at + 2, minor, true);
    }
    view.setUint16(TYPE, type, true);
    view.setUint16(SIZE, data.length, true);
    view.setUint8(TRANSACTION, state.transaction);
    view.setUint8(FLAGS, FLAG_TRANSACTION | FLAG_REQUEST);
    body.set(data, DATA);
    if (!this.#channel.hasRoom(DESCRIPTOR_SIZE + body.length)) return false;
    return this.#channel.send({ type: VM_PKT_DATA_INBAND, transaction: BigInt(state.transaction), body });
  }

  #hear(body: Uint8Array): void {
    const view = viewOf(body);
    if (!(view.getUint8(FLAGS) & FLAG_RESPONSE)) return;
    if (view.getUint16(TYPE, true) !== NEGOTIATE) {
      this.answered(body.subarray(DATA), view.getUint32(STATUS, true));
      return;
    }
    if (body.length < VERSIONS + 8 || this.#state.version[0] !== 0) return;
    const version = (at: number): Version => [view.getUint16(at, true), view.getUint16(at + 2, true)];
    const [frame, message] = [version(VERSIONS), version(VERSIONS + 4)];
    const known = (list: readonly Version[], [major, minor]: Version) =>
      list.some(([a, b]) => a === major && b === minor);
    if (!known(FRAME_VERSIONS, frame) || !known(this.#kind.versions, message)) {
      this.host.log.once(`${this.name}-versions`, `${this.name}: the guest knows none of the versions of this service`);
      return;
    }
    Object.assign(this.#state, { frame: [...frame], version: [...message] });
    this.#timer.off();
    this.#in(this.begin());
  }
}
