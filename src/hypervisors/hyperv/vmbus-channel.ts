/**
 * A channel of the VMBus: two rings in memory that the guest has handed over, and signals both ways. A ring in which the
 * guest has left nonsense is not looked at again before the channel is opened anew.
 */
import type { Offer, PluggableChannel, VmbusDevice } from '../../devices/vmbus/channel.ts';
import type { Packet, Sent } from '../../devices/vmbus/packet.ts';
import type { PagedBuffer } from '../../devices/vmbus/paged-buffer.ts';
import { BrokenRing, Ring, TRAILER_SIZE } from '../../devices/vmbus/ring.ts';
import type { Log } from '../../host/log.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';
import type { Gpadls } from './gpadls.ts';

export const initialChannel = () => ({
  /**
   * 'absent': of those that come and go, not there. 'rescinded': taken away from the guest, which has not said that it has let go.
   * 'gone': for good.
   */
  phase: 'offered' as 'absent' | 'offered' | 'open' | 'rescinded' | 'gone',
  /** Of the rings: the guest's comes first, the host's `split` bytes later. */
  gpadl: 0,
  split: 0,
  /** The processor that is interrupted. */
  target: 0,
  /** There is nonsense in a ring. */
  broken: false,
  /** The device has more to do. */
  busy: false,
});

export type ChannelState = ReturnType<typeof initialChannel>;

/** A ring has a header page and data; more than this is of no use to anybody. */
const LEAST_RING = 2 * PAGE_SIZE;
const MOST_RING = 2 ** 22;

export interface ChannelParts {
  readonly relid: number;
  readonly gpadls: Gpadls;
  readonly log: Log;
  /** The state, wherever it is kept. */
  state(): ChannelState;
  device(): VmbusDevice;
  /** Tells the guest that there is something in the host's ring, or room in its own. */
  interrupt(): void;
  /** The guest has asked what there is, and hears of what comes later. */
  isHeard(): boolean;
  /** Tells the guest. @returns false if it cannot be told now */
  offer(offer: Offer): boolean;
  rescind(): boolean;
  refuse(offer: Offer): void;
}

export class Channel implements PluggableChannel {
  readonly #parts: ChannelParts;

  constructor(parts: ChannelParts) {
    this.#parts = parts;
  }

  get state(): ChannelState {
    return this.#parts.state();
  }

  get isOpen(): boolean {
    return this.state.phase === 'open';
  }

  /** The device was taken away from the guest. */
  get isLost(): boolean {
    return this.state.phase === 'rescinded' || this.state.phase === 'gone';
  }

  get isAbsent(): boolean {
    return this.state.phase === 'absent';
  }

  get isOffered(): boolean {
    return this.state.phase === 'offered' || this.isOpen;
  }

  get isHeard(): boolean {
    return this.#parts.isHeard();
  }

  /** It comes and goes. */
  get isPluggable(): boolean {
    return this.#parts.device().offer === undefined;
  }

  plug(offer: Offer): boolean {
    if (!this.isAbsent || !this.#parts.offer(offer)) return false;
    this.state.phase = 'offered';
    return true;
  }

  unplug(): boolean {
    if (!this.isOffered || !this.#parts.rescind()) return false;
    const { isOpen } = this;
    Object.assign(this.state, { ...initialChannel(), phase: 'rescinded' });
    if (isOpen) this.#parts.device().closed();
    return true;
  }

  refuse(offer: Offer): void {
    this.#parts.refuse(offer);
  }

  /** The guest says that it has let go. */
  release(): void {
    const { state } = this;
    const { gpadls, relid } = this.#parts;
    if (state.phase !== 'rescinded' && !(this.isPluggable && this.isOffered)) return;
    this.close();
    gpadls.release(relid);
    state.phase = this.isPluggable ? 'absent' : 'gone';
    this.#parts.device().lost?.();
  }

  /** @param split where the host's ring begins, in pages. @returns false if that cannot be */
  open(gpadl: number, split: number, target: number): boolean {
    const { state } = this;
    const buffer = this.buffer(gpadl);
    if (state.phase !== 'offered' || !buffer?.isAligned) return false;
    const first = split * PAGE_SIZE;
    const sizes = [first, buffer.length - first];
    if (sizes.some(size => size < LEAST_RING || size > MOST_RING || size % PAGE_SIZE !== 0)) return false;
    Object.assign(state, { ...initialChannel(), phase: 'open', gpadl, split: first, target });
    this.#parts.device().opened();
    return true;
  }

  close(): void {
    if (!this.isOpen) return;
    Object.assign(this.state, initialChannel());
    this.#parts.device().closed();
  }

  /** The guest has signalled, or the device had more to do. @returns true if it has still more */
  serve(): boolean {
    const { state } = this;
    if (!this.isOpen || state.broken) return false;
    state.busy = this.#parts.device().serve();
    return state.busy;
  }

  receive(): Packet | undefined {
    return this.#guarded(undefined, (incoming, _outgoing) => {
      const before = incoming.free;
      const packet = incoming.read();
      // Whoever waits for room is told when there is enough, and only then.
      const wanted = packet ? incoming.pendingSendSize : 0;
      if (wanted > 0 && before <= wanted && incoming.free > wanted) this.#parts.interrupt();
      return packet;
    });
  }

  hasRoom(bytes: number): boolean {
    return this.#guarded(false, (_, outgoing) => {
      const needed = bytes + TRAILER_SIZE;
      const enough = outgoing.free >= needed;
      const waits = enough ? 0 : needed;
      if (outgoing.pendingSendSize !== waits) outgoing.pendingSendSize = waits;
      return enough;
    });
  }

  send(packet: Sent): boolean {
    return this.#guarded(false, (_, outgoing) => {
      const sent = outgoing.write(packet);
      if (sent && !outgoing.masked) this.#parts.interrupt();
      return sent;
    });
  }

  buffer(handle: number): PagedBuffer | undefined {
    return this.#parts.gpadls.buffer(this.#parts.relid, handle);
  }

  /** Works with both rings, the guest's first. @returns `otherwise` where there are none, or nonsense is in one */
  #guarded<T>(otherwise: T, work: (incoming: Ring, outgoing: Ring) => T): T {
    const { state } = this;
    const buffer = this.isOpen && !state.broken ? this.buffer(state.gpadl) : undefined;
    if (!buffer) return otherwise;
    const { split } = state;
    try {
      return work(new Ring(buffer.slice(0, split)), new Ring(buffer.slice(split, buffer.length - split)));
    } catch (error) {
      if (!(error instanceof BrokenRing)) throw error;
      state.broken = true;
      const { name } = this.#parts.device();
      this.#parts.log.once(`vmbus-broken-${name}`, `${name}: ${error.message}: its channel is not served any more`);
      return otherwise;
    }
  }
}
