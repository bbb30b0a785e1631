/**
 * Two machines with the same guest that run side by side and are compared at every slice of instructions, as one machine: the
 * first difference ends its run and says where it lies. Both must repeat exactly, so they count instructions for time.
 */
import type { Engine } from '../engine/engine.ts';
import type { Exit } from '../exits.ts';
import { machineOf } from './controls.ts';
import type { Machine, RunLimits } from './options.ts';

export interface Assembled {
  machine: Machine;
  engine: Engine;
}

/** Instructions between two comparisons, and comparisons between two that look at all RAM. */
const SLICE = 50_000;
const RAM_EVERY = 200;

export interface Comparison {
  /** What the two machines are, in messages: `the tiers`. */
  what: string;
  /** The first thing in which the machines differ, in words; undefined if there is none. @param ram true: look at all RAM */
  difference(reference: Engine, subject: Engine, ram: boolean): string | undefined;
}

/**
 * @param reference runs first, and shows nothing
 * @param subject has the console, and what the comparison shows is this machine's
 */
export function compareMachines(reference: Assembled, subject: Assembled, { what, difference }: Comparison): Machine {
  /** What happens to both before the next slice. */
  const events: ((machine: Machine) => void)[] = [];
  let stopping = false;

  /** Runs both for one slice. @returns why the run ends; undefined if it goes on */
  async function slice(instructions: number, ram: boolean): Promise<Exit | undefined> {
    for (const event of events.splice(0)) for (const { machine } of [reference, subject]) event(machine);
    const from = subject.machine.instructions;
    const expected = await reference.machine.run({ instructions });
    const exit = await subject.machine.run({ instructions });
    const found = difference(reference.engine, subject.engine, ram);
    if (found)
      return {
        kind: 'killed',
        reason: `${what} differ between instructions ${from} and ${from + instructions}: ${found}`,
      };
    if (expected.kind !== exit.kind)
      return { kind: 'killed', reason: `${what} ended differently: ${expected.kind} and ${exit.kind}` };
    return exit.kind === 'stopped' ? undefined : exit;
  }

  async function run({
    timeout = Number.POSITIVE_INFINITY,
    instructions = Number.POSITIVE_INFINITY,
  }: RunLimits): Promise<Exit> {
    const deadline = performance.now() + timeout * 1000;
    stopping = false;
    for (let count = 1, left = instructions; left > 0; count++, left -= SLICE) {
      const exit = await slice(Math.min(SLICE, left), count % RAM_EVERY === 0);
      if (exit) return exit;
      if (stopping) break;
      if (performance.now() > deadline) return { kind: 'timeout' };
    }
    return { kind: 'stopped' };
  }

  const { machine } = subject;
  return machineOf({
    run,
    stop() {
      stopping = true;
    },
    request: what => void events.push(machine => machine.request(what)),
    type: data => void events.push(machine => machine.type(data)),
    statistics: () => machine.statistics,
    instructions: () => machine.instructions,
    describe: () => machine.describe(),
    log: machine.log,
  });
}
