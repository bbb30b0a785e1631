/**
 * `Machine` over the few functions in which kinds of machines differ: one that runs here, one in another thread
 * (cli/thread.ts), two that are compared (compare-machines.ts).
 */
import type { Target } from '../debug/target.ts';
import type { Exit } from '../exits.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import {
  checkRequest,
  type Machine,
  type MachineRequest,
  type RunLimits,
  type SnapshotOptions,
  type Statistics,
} from './options.ts';

export interface Controls {
  run(limits: RunLimits): Promise<Exit>;
  stop(): void;
  request(what: MachineRequest): void;
  type(data: Uint8Array): void;
  statistics(): Statistics;
  instructions(): number;
  describe(): string;
  readonly log: readonly string[];
  /** Default: this kind of machine has none. */
  epoch?(): bigint | undefined;
  /** Default: this kind of machine cannot be told in one. */
  snapshot?(options?: SnapshotOptions): Snapshot;
  /** Default: this kind of machine cannot be told in one. */
  core?(): Uint8Array[];
  /** Default: nothing. */
  learned?(): Uint8Array;
  /** Default: this kind of machine cannot be debugged. */
  debug?(): Target;
}

export function machineOf(controls: Controls): Machine {
  return {
    run: (limits = {}) => controls.run(limits),
    stop: () => controls.stop(),
    request(what) {
      checkRequest(what);
      controls.request(what);
    },
    type: text => controls.type(typeof text === 'string' ? new TextEncoder().encode(text) : text),
    get statistics() {
      return controls.statistics();
    },
    get instructions() {
      return controls.instructions();
    },
    describe: () => controls.describe(),
    log: controls.log,
    get epoch() {
      return controls.epoch?.();
    },
    snapshot(options) {
      if (!controls.snapshot) throw new Error('no snapshot of this kind of machine');
      return controls.snapshot(options);
    },
    core() {
      if (!controls.core) throw new Error('no core of this kind of machine');
      return controls.core();
    },
    learned: () => controls.learned?.() ?? new Uint8Array(0),
    debug() {
      if (!controls.debug) throw new Error('this kind of machine cannot be debugged');
      return controls.debug();
    },
  };
}
