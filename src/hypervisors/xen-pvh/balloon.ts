/**
 * The balloon of a PVH guest: pages of its RAM that it has given back, and pages that it gets again, there or anywhere
 * else in its address space. A page outside RAM uses the memory of one that was given back, and appears on the bus.
 */
import type { State } from '../../state/state.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';
import type { Domain } from '../xen/domain.ts';

/** What is at a frame of RAM: the guest's page, nothing, or nothing while its memory is a page elsewhere. */
const PAGE = 0;
const HOLE = 1;
const LENT = 2;

interface BalloonState {
  /** By frame number of RAM. */
  frames: Uint8Array;
  /** Pages outside RAM: the frame of RAM whose memory each uses, by guest frame number. */
  elsewhere: Map<number, number>;
}

/** The way to the bus: what `Balloon` needs of the domain around it. */
export interface Outside {
  /** True if nothing is at guest frame number `gpfn`, which is outside RAM. */
  isFree(gpfn: number): boolean;
  /** Lets the page at `at` appear there. */
  appear(gpfn: number, at: () => number): void;
  disappear(gpfn: number): void;
}

export class Balloon {
  readonly #domain: Domain;
  readonly #outside: Outside;
  readonly #state: State<BalloonState>;

  constructor(domain: Domain, outside: Outside) {
    this.#domain = domain;
    this.#outside = outside;
    this.#state = domain.states.state('balloon', 1, () => ({
      frames: new Uint8Array(domain.pages),
      elsewhere: new Map(),
    }));
  }

  /** The states have been replaced: pages outside RAM appear where they say. */
  restored(): void {
    for (const gpfn of this.#state.elsewhere.keys()) this.#outside.appear(gpfn, () => this.address(gpfn)!);
  }

  /** Guest-physical address of the memory of the page at `gpfn`; undefined where the guest has none. */
  address(gpfn: number): number | undefined {
    if (gpfn >= 0 && gpfn < this.#domain.pages) return this.#state.frames[gpfn] === PAGE ? gpfn * PAGE_SIZE : undefined;
    const frame = this.#state.elsewhere.get(gpfn);
    return frame === undefined ? undefined : frame * PAGE_SIZE;
  }

  /** A frame of RAM is a hole from now on, or a page again, whatever its memory holds. */
  setHole(frame: number, hole: boolean): void {
    this.#state.frames[frame] = hole ? HOLE : PAGE;
  }

  /**
   * A frame of RAM is to hold a page of the hypervisor's: it is a page again. @returns false if its memory is a page
   * elsewhere and there is no other for that one
   */
  reclaim(frame: number): boolean {
    const { frames } = this.#state;
    if (frames[frame] === LENT) {
      const free = frames.indexOf(HOLE);
      if (free < 0) return false;
      this.#moveLent(frame, free);
    }
    frames[frame] = PAGE;
    return true;
  }

  /** XENMEM_decrease_reservation of one page. @returns false if the guest has none there */
  giveBack(gpfn: number): boolean {
    const address = this.address(gpfn);
    if (address === undefined) return false;
    // Memory comes back empty.
    this.#domain.memory.fill(address, PAGE_SIZE);
    this.#state.frames[address / PAGE_SIZE] = HOLE;
    if (this.#state.elsewhere.delete(gpfn)) this.#outside.disappear(gpfn);
    this.#domain.state.reservation--;
    return true;
  }

  /** XENMEM_populate_physmap of one page. @returns false if something is there, or if there is no memory for it */
  populate(gpfn: number): boolean {
    const { frames, elsewhere } = this.#state;
    const inRam = gpfn < this.#domain.pages;
    if (inRam ? frames[gpfn] === PAGE : !this.#outside.isFree(gpfn)) return false;
    const free = inRam && frames[gpfn] === HOLE ? gpfn : frames.indexOf(HOLE);
    if (free < 0) return false;
    if (!inRam) {
      frames[free] = LENT;
      elsewhere.set(gpfn, free);
      this.#outside.appear(gpfn, () => this.address(gpfn)!);
    } else {
      if (frames[gpfn] === LENT) this.#moveLent(gpfn, free);
      frames[gpfn] = PAGE;
    }
    this.#domain.state.reservation++;
    return true;
  }

  /** The page outside RAM that uses the memory of `frame` uses that of `free` instead. */
  #moveLent(frame: number, free: number): void {
    const { frames, elsewhere } = this.#state;
    const { memory } = this.#domain;
    for (const [gpfn, used] of elsewhere) if (used === frame) elsewhere.set(gpfn, free);
    memory.copyIn(free * PAGE_SIZE, memory.copyOut(frame * PAGE_SIZE, PAGE_SIZE));
    memory.fill(frame * PAGE_SIZE, PAGE_SIZE);
    frames[free] = LENT;
  }
}
