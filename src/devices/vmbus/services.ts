/** The integration services that need nothing of the guest but its kernel: shutdown, heartbeat, time. */
import type { VmbusChannel, VmbusHost } from './channel.ts';
import { IntegrationService, type ServiceKind } from './integration.ts';
import { viewOf } from './packet.ts';

const SECOND = 1_000_000_000;

const SHUTDOWN: ServiceKind = {
  name: 'shutdown',
  type: '0e0b6031-5213-4934-818b-38d90ced39db',
  instance: 'shutdown',
  message: 3,
  versions: [
    [3, 2],
    [3, 1],
    [3, 0],
    [1, 0],
  ],
};
/** struct shutdown_msg_data: reason code, time-out in seconds, flags (0: power off), all u32, and a text. */
const SHUTDOWN_SIZE = 2060;

/** Asks the guest to switch itself off in an orderly way. */
export class ShutdownService extends IntegrationService {
  constructor(host: VmbusHost, channel: VmbusChannel) {
    super(host, channel, SHUTDOWN);
  }

  /** @returns false if the guest does not listen */
  request(): boolean {
    return this.isReady && this.say(new Uint8Array(SHUTDOWN_SIZE));
  }

  protected override answered(_data: Uint8Array, status: number): void {
    if (status !== 0) this.host.log.once('shutdown-refused', `shutdown: the guest refuses: 0x${status.toString(16)}`);
  }
}

const HEARTBEAT: ServiceKind = {
  name: 'heartbeat',
  type: '57164f39-9115-4e78-ab55-382f3bd5422d',
  instance: 'heartbeat',
  message: 1,
  versions: [
    [3, 0],
    [1, 0],
  ],
};
/** struct heartbeat_msg_data: a sequence number u64, and reserved words. The guest answers with the number plus one. */
const HEARTBEAT_SIZE = 40;
const HEARTBEAT_PERIOD = 2 * SECOND;

/** Asks the guest again and again whether it is alive. */
export class HeartbeatService extends IntegrationService {
  readonly #state;

  constructor(host: VmbusHost, channel: VmbusChannel) {
    super(host, channel, HEARTBEAT);
    /** The number that the guest has answered with last. */
    this.#state = host.state('heartbeat/sequence', 1, () => ({ sequence: 0n }));
  }

  override opened(): void {
    this.#state.initialise();
    super.opened();
  }

  protected override begin(): number {
    return this.again();
  }

  protected override again(): number {
    const data = new Uint8Array(HEARTBEAT_SIZE);
    viewOf(data).setBigUint64(0, this.#state.sequence, true);
    this.say(data);
    return HEARTBEAT_PERIOD;
  }

  protected override answered(data: Uint8Array): void {
    if (data.length >= 8) this.#state.sequence = viewOf(data).getBigUint64(0, true);
  }
}

const TIME: ServiceKind = {
  name: 'time-synchronization',
  type: '9527e630-d0ae-497b-adce-e80ab0175caf',
  instance: 'time-synchronization',
  message: 4,
  versions: [
    [4, 0],
    [3, 0],
    [1, 0],
  ],
};
/** The Unix epoch, counted from the beginning of 1601 in units of 100 ns. */
const UNIX_EPOCH = 116_444_736_000_000_000n;
const SYNC = 1;
const SAMPLE = 2;
/** struct ictimesync_ref_data of version 4: host time u64, reference count u64, flags u8, and what we have no use for. */
const REFERENCE_SIZE = 22;
const REFERENCE_FLAGS = 16;
/** struct ictimesync_data of the older ones: host time, child time, round trip (u64 each), flags u8. */
const PARENT_SIZE = 25;
const PARENT_FLAGS = 24;
const SAMPLE_PERIOD = 5 * SECOND;

/** Tells the guest the time: once so that it sets its clock, then so that it can compare. */
export class TimeService extends IntegrationService {
  constructor(host: VmbusHost, channel: VmbusChannel) {
    super(host, channel, TIME);
  }

  protected override begin(): number {
    this.#tell(SYNC);
    return SAMPLE_PERIOD;
  }

  protected override again(): number {
    this.#tell(SAMPLE);
    return SAMPLE_PERIOD;
  }

  #tell(flags: number): void {
    const { clock } = this.host;
    const isReference = this.version[0] >= 4;
    const data = new Uint8Array(isReference ? REFERENCE_SIZE : PARENT_SIZE);
    const view = viewOf(data);
    const now = BigInt(Math.floor(clock.now()));
    view.setBigUint64(0, UNIX_EPOCH + (clock.epoch + now) / 100n, true);
    if (isReference) view.setBigUint64(8, now / 100n, true);
    view.setUint8(isReference ? REFERENCE_FLAGS : PARENT_FLAGS, flags);
    this.say(data);
  }
}
