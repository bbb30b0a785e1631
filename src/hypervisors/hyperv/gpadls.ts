/**
 * GPADLs: guest memory that a guest describes page by page in several messages, under a handle of its own choice, for one
 * channel (Linux drivers/hv/channel.c, create_gpadl_header).
 */
import { PagedBuffer } from '../../devices/vmbus/paged-buffer.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';

interface Gpadl {
  relid: number;
  /** Where the memory begins in its first page, and its length, in bytes. */
  offset: number;
  length: number;
  /** Page numbers, as far as they have come: `known` of them. */
  pages: Uint32Array;
  known: number;
  /** A page is no RAM, or a message was none. */
  bad: boolean;
}

export type GpadlState = Map<number, Gpadl>;

/** So much memory of the host's a guest may take by describing its own: page numbers, and buffers. */
const MOST_PAGES = 2 ** 18;
const MOST_GPADLS = 4096;

/** GPADL_HEADER, from the message's start: one range of memory, then its pages. */
const RANGE_COUNT = 18;
const BYTE_COUNT = 20;
const BYTE_OFFSET = 24;
const HEADER_PAGES = 28;
/** GPADL_BODY: more pages. */
const BODY_PAGES = 16;
const PAGE_NUMBER_SIZE = 8;

/** What a message has come to. */
export type Progress = 'created' | 'refused' | 'unfinished';

export class Gpadls {
  readonly #memory: HypervisorContext['memory'];
  readonly #state: { gpadls: GpadlState };

  /** @param state where they are kept */
  constructor(context: HypervisorContext, state: { gpadls: GpadlState }) {
    this.#memory = context.memory;
    this.#state = state;
  }

  /** GPADL_HEADER. */
  begin(relid: number, handle: number, message: DataView): Progress {
    const { gpadls } = this.#state;
    if (gpadls.has(handle) || gpadls.size >= MOST_GPADLS || message.byteLength < HEADER_PAGES) return 'refused';
    const length = message.getUint32(BYTE_COUNT, true);
    const offset = message.getUint32(BYTE_OFFSET, true);
    const count = Math.ceil((offset + length) / PAGE_SIZE);
    const all = [...gpadls.values()].reduce((sum, { pages }) => sum + pages.length, 0);
    const fits = length > 0 && offset < PAGE_SIZE && all + count <= MOST_PAGES;
    if (!fits || message.getUint16(RANGE_COUNT, true) !== 1) return 'refused';
    gpadls.set(handle, { relid, offset, length, pages: new Uint32Array(count), known: 0, bad: false });
    return this.#add(handle, message, HEADER_PAGES);
  }

  /** GPADL_BODY. */
  go(handle: number, message: DataView): Progress {
    return this.#add(handle, message, BODY_PAGES);
  }

  /** Which channel a GPADL is for. */
  relidOf(handle: number): number | undefined {
    return this.#state.gpadls.get(handle)?.relid;
  }

  #add(handle: number, message: DataView, start: number): Progress {
    const gpadl = this.#state.gpadls.get(handle);
    // What comes after the last page has been told belongs to nothing.
    if (!gpadl || gpadl.known >= gpadl.pages.length) return 'unfinished';
    for (let at = start; at + PAGE_NUMBER_SIZE <= message.byteLength && gpadl.known < gpadl.pages.length; ) {
      const page = Number(message.getBigUint64(at, true));
      if (!this.#memory.has(page * PAGE_SIZE, PAGE_SIZE)) gpadl.bad = true;
      else gpadl.pages[gpadl.known] = page;
      gpadl.known++;
      at += PAGE_NUMBER_SIZE;
    }
    if (gpadl.known < gpadl.pages.length) return 'unfinished';
    if (!gpadl.bad) return 'created';
    this.#state.gpadls.delete(handle);
    return 'refused';
  }

  /** The memory of a GPADL that was created for `relid`. */
  buffer(relid: number, handle: number): PagedBuffer | undefined {
    const gpadl = this.#state.gpadls.get(handle);
    if (gpadl?.relid !== relid || gpadl.known < gpadl.pages.length) return undefined;
    return new PagedBuffer(this.#memory, gpadl.pages, gpadl.offset, gpadl.length);
  }

  tearDown(handle: number): void {
    this.#state.gpadls.delete(handle);
  }

  /** Forgets those of a channel. */
  release(relid: number): void {
    const { gpadls } = this.#state;
    for (const [handle, gpadl] of gpadls) if (gpadl.relid === relid) gpadls.delete(handle);
  }

  clear(): void {
    this.#state.gpadls.clear();
  }
}
