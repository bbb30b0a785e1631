/**
 * Event ports in queues (public/event_channel.h, the FIFO ABI): 2^17 ports, a word each in pages that the guest gives
 * one by one, and for each processor a control block with the heads of 16 queues, one a priority. An event is linked to
 * the end of a queue; the guest takes events from the heads and unlinks them.
 *
 * The guest may write whatever it likes into its words and heads. Nothing here follows a link: of the guest's words, a
 * queue needs the last one alone, whose port is kept here.
 */
import { perProcessor } from '../../paravirt/per-processor.ts';
import type { State } from '../../state/state.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';
import { EINVAL, ENOSPC } from './constants.ts';
import type { Domain, Vcpu } from './domain.ts';
import type { EventPorts } from './event-ports.ts';

/** Bits of an event word. */
export const EVTCHN_FIFO_PENDING = 2 ** 31;
export const EVTCHN_FIFO_MASKED = 2 ** 30;
export const EVTCHN_FIFO_LINKED = 2 ** 29;
const EVTCHN_FIFO_BUSY = 2 ** 28;
export const EVTCHN_FIFO_LINK_BITS = 17;
const EVTCHN_FIFO_LINK_MASK = 2 ** EVTCHN_FIFO_LINK_BITS - 1;
const EVTCHN_FIFO_NR_CHANNELS = 2 ** EVTCHN_FIFO_LINK_BITS;

const EVTCHN_FIFO_PRIORITY_DEFAULT = 7;
/** The least urgent priority has the highest number. */
const EVTCHN_FIFO_PRIORITY_MIN = 15;
const EVTCHN_FIFO_MAX_QUEUES = EVTCHN_FIFO_PRIORITY_MIN + 1;

/** struct evtchn_fifo_control_block: a bit for each queue with events, 4 reserved bytes, then the queues' heads. */
const CONTROL_BLOCK_HEADS = 8;
const CONTROL_BLOCK_SIZE = CONTROL_BLOCK_HEADS + 4 * EVTCHN_FIFO_MAX_QUEUES;
const CONTROL_BLOCK_ALIGNMENT = 8;

const WORDS_PER_PAGE = PAGE_SIZE / 4;
const MAX_PAGES = EVTCHN_FIFO_NR_CHANNELS / WORDS_PER_PAGE;

/** What is kept for a port beside the guest's word. */
interface FifoPort {
  priority: number;
  /** The queue on which it was linked last. */
  lastVcpu: number;
  lastPriority: number;
  /** Raised while there was no page for its word. */
  pending: boolean;
}

interface FifoState {
  /** The guest has chosen this ABI. */
  active: boolean;
  /** Guest-physical addresses of the pages with event words. */
  pages: number[];
  ports: Map<number, FifoPort>;
}

interface FifoVcpuState {
  /** Guest-physical address; undefined: the guest has given none yet. */
  controlBlock: number | undefined;
  /** The last port of each queue; 0: the queue is empty. */
  tails: Uint32Array;
}

export class FifoPorts implements EventPorts {
  readonly #domain: Domain;
  readonly #state: State<FifoState>;
  readonly #vcpus: readonly State<FifoVcpuState>[];

  constructor(domain: Domain) {
    this.#domain = domain;
    this.#state = domain.states.state('fifo', 1, () => ({ active: false, pages: [], ports: new Map() }));
    const { cpus } = domain.context;
    const states = { cpus, state: domain.states.state.bind(domain.states) };
    this.#vcpus = perProcessor(states, 'fifo', 1, () => ({
      controlBlock: undefined as number | undefined,
      tails: new Uint32Array(EVTCHN_FIFO_MAX_QUEUES),
    }));
  }

  readonly limit = EVTCHN_FIFO_NR_CHANNELS;

  get active(): boolean {
    return this.#state.active;
  }

  /**
   * EVTCHNOP_init_control: the control block of `vcpu` is at `offset` in frame `gfn`. The first one makes this the
   * domain's ABI. @returns 0 or a negated error
   */
  initControl(vcpu: Vcpu, gfn: bigint, offset: number): number {
    if (offset > PAGE_SIZE - CONTROL_BLOCK_SIZE || offset % CONTROL_BLOCK_ALIGNMENT !== 0) return -EINVAL;
    const state = this.#vcpus[vcpu.id]!;
    if (state.controlBlock !== undefined) return -EINVAL;
    const page = this.#domain.hold(gfn);
    if (page === undefined) return -EINVAL;
    state.controlBlock = page + offset;
    this.#state.active = true;
    return 0;
  }

  /** A port that was bound before this ABI was chosen. @param pending it is so in shared_info */
  adopt(port: number, pending: boolean): void {
    this.#port(port).pending = pending;
  }

  /** EVTCHNOP_expand_array: words for 1024 more ports. @param raise raises a port again @returns 0 or a negated error */
  expand(gfn: bigint, raise: (port: number) => void): number {
    const { pages, ports } = this.#state;
    if (pages.length >= MAX_PAGES) return -ENOSPC;
    const page = this.#domain.hold(gfn);
    if (page === undefined) return -EINVAL;
    const first = pages.length * WORDS_PER_PAGE;
    pages.push(page);
    for (const [port, own] of ports) {
      if (!own.pending || port < first) continue;
      own.pending = false;
      raise(port);
    }
    return 0;
  }

  /** EVTCHNOP_set_priority, for events to come. @returns 0 or a negated error */
  setPriority(port: number, priority: number): number {
    if (priority > EVTCHN_FIFO_PRIORITY_MIN) return -EINVAL;
    this.#port(port).priority = priority;
    return 0;
  }

  /** EVTCHNOP_reset: the pages are the guest's alone again. */
  reset(): void {
    const { kind } = this.#domain;
    for (const state of this.#vcpus) {
      if (state.controlBlock === undefined) continue;
      kind.release(this.#domain, state.controlBlock - (state.controlBlock % PAGE_SIZE), true);
      state.initialise();
    }
    for (const page of this.#state.pages) kind.release(this.#domain, page, true);
    this.#state.initialise();
  }

  opened(port: number): void {
    this.#port(port).priority = EVTCHN_FIFO_PRIORITY_DEFAULT;
  }

  setPending(port: number, vcpu: Vcpu): boolean {
    const word = this.#word(port);
    const own = this.#port(port);
    if (word === undefined) {
      own.pending = true;
      return false;
    }
    const { memory } = this.#domain;
    const { controlBlock, tails } = this.#vcpus[vcpu.id]!;
    // A guest must not unmask an event before it has given a control block, so this one is lost.
    if (controlBlock === undefined) return false;
    const before = memory.read32(word);
    const wasPending = (before & EVTCHN_FIFO_PENDING) !== 0;
    const link = (before & (EVTCHN_FIFO_MASKED | EVTCHN_FIFO_LINKED)) === 0;
    memory.write32(word, (before | EVTCHN_FIFO_PENDING | (link ? EVTCHN_FIFO_LINKED : 0)) >>> 0);
    if (link) {
      const { priority, lastVcpu, lastPriority } = own;
      // The last event of a queue, unlinked by the guest: that queue is empty, even if this event goes to another.
      const old = this.#vcpus[lastVcpu]!.tails;
      if (old[lastPriority] === port) old[lastPriority] = 0;
      own.lastVcpu = vcpu.id;
      own.lastPriority = priority;
      const linked = tails[priority] !== 0 && this.#setLink(tails[priority]!, port);
      tails[priority] = port;
      if (!linked) {
        memory.write32(controlBlock + CONTROL_BLOCK_HEADS + 4 * priority, port);
        this.#makeReady(controlBlock, priority, vcpu);
      }
    }
    return !wasPending;
  }

  clearPending(port: number): void {
    const word = this.#word(port);
    if (word === undefined) return;
    const { memory } = this.#domain;
    // It stays linked: the guest passes over what is not pending.
    memory.write32(word, (memory.read32(word) & ~EVTCHN_FIFO_PENDING) >>> 0);
  }

  unmask(port: number, vcpu: Vcpu): void {
    const word = this.#word(port);
    if (word === undefined) return;
    const { memory } = this.#domain;
    const value = (memory.read32(word) & ~EVTCHN_FIFO_MASKED) >>> 0;
    memory.write32(word, value);
    if (value & EVTCHN_FIFO_PENDING) this.setPending(port, vcpu);
  }

  pending(port: number): boolean {
    return this.#has(port, EVTCHN_FIFO_PENDING);
  }

  busy(port: number): boolean {
    return this.#has(port, EVTCHN_FIFO_LINKED);
  }

  #has(port: number, bit: number): boolean {
    const word = this.#word(port);
    return word !== undefined && (this.#domain.memory.read32(word) & bit) !== 0;
  }

  #port(port: number): FifoPort {
    const { ports } = this.#state;
    let own = ports.get(port);
    if (!own) {
      own = { priority: EVTCHN_FIFO_PRIORITY_DEFAULT, lastVcpu: 0, lastPriority: 0, pending: false };
      ports.set(port, own);
    }
    return own;
  }

  /** Guest-physical address of the port's word; undefined while there is no page for it. */
  #word(port: number): number | undefined {
    const page = this.#state.pages[Math.floor(port / WORDS_PER_PAGE)];
    return page === undefined ? undefined : page + 4 * (port % WORDS_PER_PAGE);
  }

  /** Links `port` behind `tail`. @returns false if the guest has unlinked `tail`: then the queue was empty */
  #setLink(tail: number, port: number): boolean {
    const { memory } = this.#domain;
    const word = this.#word(tail)!;
    const value = memory.read32(word);
    if ((value & EVTCHN_FIFO_LINKED) === 0) return false;
    memory.write32(word, ((value & ~(EVTCHN_FIFO_BUSY | EVTCHN_FIFO_LINK_MASK)) | port) >>> 0);
    return true;
  }

  #makeReady(controlBlock: number, priority: number, vcpu: Vcpu): void {
    const { memory } = this.#domain;
    const ready = memory.read32(controlBlock);
    if (ready & (1 << priority)) return;
    memory.write32(controlBlock, (ready | (1 << priority)) >>> 0);
    vcpu.markEventsPending();
  }
}
