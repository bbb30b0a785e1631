/**
 * A domain's time: the pvclock record in each vcpu_info, the wall clock in shared_info, runstates, and the two timers
 * each virtual processor has (public/xen.h, public/vcpu.h). System time is nanoseconds since the machine's start.
 */
import type { Timer } from '../../host/clock.ts';
import {
  PVCLOCK_SIZE,
  PVCLOCK_TSC_STABLE,
  type PvclockScale,
  pvclockScale,
  writePvclock,
} from '../../paravirt/pvclock.ts';
import type { State, States } from '../../state/state.ts';
import { EINVAL, RUNSTATE_runnable, RUNSTATE_running, VIRQ_TIMER } from './constants.ts';
import type { Domain, Vcpu } from './domain.ts';
import { VCPU_INFO_TIME } from './shared-info.ts';
import { structure } from './structures.ts';

/** A time record that is off by less than this many nanoseconds is left alone: readers then see no step. */
const TOLERANCE = 1000;
/** The shortest period VCPUOP_set_periodic_timer takes, in nanoseconds. */
const MINIMUM_PERIOD = 1e6;

const vcpu_runstate_info = structure({
  state: 'u32',
  state_entry_time: 'u64',
  running: 'u64',
  runnable: 'u64',
  blocked: 'u64',
  offline: 'u64',
});

const wantsToRun = (runstate: number) => runstate === RUNSTATE_running || runstate === RUNSTATE_runnable;

interface TimeState {
  /** What the record was last written with, in TSC ticks and nanoseconds. */
  recorded: { tsc: bigint; time: number } | undefined;
  runstate: number;
  runstateSince: number;
  /** Nanoseconds spent in each runstate before the current one began. */
  spent: number[];
  /** Nanoseconds that the processor was kept from executing, and that do not stand in `spent` yet. */
  stolen: number;
  runstateArea: { address: bigint; width: 32 | 64 } | undefined;
  timeArea: bigint | undefined;
  /** Of the periodic timer, in nanoseconds: its period, and when it is due. */
  period: number;
  due: number;
}

export class VcpuTime {
  readonly #vcpu: Vcpu;
  readonly scale: PvclockScale;
  readonly #state: State<TimeState>;
  readonly #singleshot: Timer;
  readonly #periodic: Timer;

  constructor(states: States, vcpu: Vcpu, runstate: number) {
    this.#vcpu = vcpu;
    this.scale = pvclockScale(vcpu.cpu.tsc.frequency);
    const { clock } = vcpu.domain.context;
    const start = clock.now();
    this.#state = states.state('time', 2, () => ({
      recorded: undefined,
      runstate,
      runstateSince: start,
      spent: [0, 0, 0, 0],
      stolen: 0,
      runstateArea: undefined,
      timeArea: undefined,
      period: 0,
      due: 0,
    }));
    this.#singleshot = clock.timer(`xen-singleshot-${vcpu.id}`, () => this.#fire());
    this.#periodic = clock.timer(`xen-periodic-${vcpu.id}`, () => this.#tick());
  }

  /** System time in nanoseconds. */
  get now(): number {
    return this.#vcpu.domain.context.clock.now();
  }

  /**
   * Writes the time record into vcpu_info if the one there has drifted, or in any case with `force` (vcpu_info moved,
   * or the guest has set the TSC). The TSC runs with the clock, so that a record holds until then.
   */
  updateRecord(force = false): void {
    const time = this.now;
    const tsc = this.#vcpu.cpu.tsc.at(time);
    if (!force && this.#state.recorded) {
      const elapsed = (Number(tsc - this.#state.recorded.tsc) / this.#vcpu.cpu.tsc.frequency) * 1e9;
      if (Math.abs(this.#state.recorded.time + elapsed - time) < TOLERANCE) return;
    }
    this.#state.recorded = { tsc, time };
    writePvclock(this.#vcpu.domain.memory, this.#vcpu.info + VCPU_INFO_TIME, {
      tsc,
      systemTime: BigInt(Math.floor(time)),
      scale: this.scale,
      flags: PVCLOCK_TSC_STABLE,
    });
    this.#copyRecord();
  }

  /**
   * VCPUOP_register_vcpu_time_memory_area: a copy of the record is kept at a guest-virtual address.
   * @param caller who registers it: the first copy is written to its address space
   */
  registerTimeArea(address: bigint, caller: Vcpu): boolean {
    this.#state.timeArea = undefined;
    this.updateRecord(true);
    this.#state.timeArea = address;
    this.#copyRecord(caller);
    return true;
  }

  #copyRecord(by = this.#vcpu): void {
    if (this.#state.timeArea === undefined) return;
    const { memory, kind } = this.#vcpu.domain;
    kind.write(by, this.#state.timeArea, memory.copyOut(this.#vcpu.info + VCPU_INFO_TIME, PVCLOCK_SIZE));
  }

  /** Enters a runstate and tells the guest, if it has registered an area. */
  setRunstate(state: number): void {
    if (state === this.#state.runstate) return;
    this.#settle();
    this.#state.runstate = state;
    this.#writeRunstate();
  }

  /**
   * Enters RUNSTATE_running, or RUNSTATE_runnable while others have the turn: other processors look for that (Linux's
   * vcpu_is_preempted).
   */
  setRunning(): void {
    this.setRunstate(this.#vcpu.cpu.running ? RUNSTATE_running : RUNSTATE_runnable);
  }

  /** Adds the time since the last change to the present runstate. */
  #settle(): void {
    const state = this.#state;
    const now = this.now;
    const before = state.spent[RUNSTATE_runnable]!;
    state.spent = this.#spentAt(now);
    if (wantsToRun(state.runstate)) state.stolen -= state.spent[RUNSTATE_runnable]! - before;
    state.runstateSince = now;
  }

  /**
   * Nanoseconds spent in each runstate until `now`. Processors that take turns execute side by side as far as time goes: of the
   * time in which one is running or runnable, only what it was kept from executing (`stolen`) was spent runnable.
   */
  #spentAt(now: number): number[] {
    const { spent, runstate, runstateSince, stolen } = this.#state;
    const passed = now - runstateSince;
    const taken = wantsToRun(runstate) ? Math.min(stolen, passed) : 0;
    const all = [...spent];
    all[wantsToRun(runstate) ? RUNSTATE_running : runstate]! += passed - taken;
    all[RUNSTATE_runnable]! += taken;
    return all;
  }

  /** The host or the schedule took so much from the guest: the processor has been runnable for so long. */
  stolen(nanoseconds: number): void {
    this.#state.stolen += nanoseconds;
    this.#settle();
    this.#writeRunstate();
  }

  /** VCPUOP_get_runstate_info, as a structure for `width`. */
  runstateInfo(width: 32 | 64): Uint8Array {
    const [running, runnable, blocked, offline] = this.#spentAt(this.now).map(spent => BigInt(Math.floor(spent)));
    const state_entry_time = BigInt(Math.floor(this.#state.runstateSince));
    const bytes = new Uint8Array(vcpu_runstate_info[width].size);
    const state = this.#state.runstate;
    vcpu_runstate_info[width].encode(bytes, { state, state_entry_time, running, runnable, blocked, offline });
    return bytes;
  }

  /**
   * VCPUOP_register_runstate_memory_area: a guest-virtual address, written now and at every change; 0: none any more.
   * @param caller who registers it: now it is written in its address space, later in that of the processor it is of
   */
  registerRunstateArea(address: bigint, width: 32 | 64, caller: Vcpu): boolean {
    this.#state.runstateArea = address === 0n ? undefined : { address, width };
    return this.#writeRunstate(caller);
  }

  #writeRunstate(by = this.#vcpu): boolean {
    if (!this.#state.runstateArea) return true;
    const { address, width } = this.#state.runstateArea;
    // The guest does not execute meanwhile, so that it never sees XEN_RUNSTATE_UPDATE set (VMASST_TYPE_runstate_update_flag).
    return this.#vcpu.domain.kind.write(by, address, this.runstateInfo(width));
  }

  /**
   * The one-shot timer, which VCPUOP_set_singleshot_timer and set_timer_op share: VIRQ_TIMER at system time `at`, or at
   * once if that has passed.
   */
  setSingleshot(at: number): void {
    this.stopSingleshot();
    if (at <= this.now) this.#fire();
    else this.#singleshot.at(at);
  }

  stopSingleshot(): void {
    this.#singleshot.off();
  }

  /** VCPUOP_set_periodic_timer: VIRQ_TIMER every `period` nanoseconds. */
  setPeriodic(period: number): number {
    if (!(period >= MINIMUM_PERIOD)) return -EINVAL;
    this.#state.period = period;
    this.#arm(this.now + period);
    return 0;
  }

  stopPeriodic(): void {
    this.#periodic.off();
  }

  #arm(due: number): void {
    this.#state.due = due;
    this.#periodic.at(due);
  }

  #tick(): void {
    this.#fire();
    // Ticks the guest had no time for are not made up.
    this.#arm(Math.max(this.#state.due + this.#state.period, this.now));
  }

  #fire(): void {
    this.#vcpu.domain.events.raiseVirq(VIRQ_TIMER, this.#vcpu.id);
  }
}

/** Writes the wall clock into shared_info: what it was when system time was 0. */
export function writeWallclock(domain: Domain): void {
  const { memory, layout, sharedInfo, context } = domain;
  const address = sharedInfo.address + layout.wallclock;
  const version = (memory.read32(address) | 1) >>> 0;
  const seconds = context.clock.epoch / 1_000_000_000n;
  memory.write32(address, version);
  memory.write32(address + 4, Number(seconds & 0xffffffffn));
  memory.write32(address + 8, Number(context.clock.epoch % 1_000_000_000n));
  memory.write32(sharedInfo.address + layout.wallclockHigh, Number(seconds >> 32n));
  memory.write32(address, (version + 1) >>> 0);
}
