/**
 * One virtual machine: `createMachine` puts it together and hands out what an embedder may do with it. Reading order of this
 * folder: options.ts, this file, parts.ts (what is plugged into what), questions.ts and interrupts.ts (what a processor asks),
 * entry.ts (how the guest starts), run.ts (the loop).
 */

import { enter } from '../boot/entry.ts';
import { DISK_IMAGE, parseKernel } from '../boot/image.ts';
import { compareTiers } from '../compare-tiers.ts';
import { coreFile } from '../debug/core-file.ts';
import type { Exit } from '../exits.ts';
import { portableClock } from '../host/portable-clock.ts';
import { Divergence } from '../replay/journal.ts';
import { marksOf } from '../snapshot/memory-pages.ts';
import type { Assembled } from './compare-machines.ts';
import { machineOf } from './controls.ts';
import { sumOf } from './counts.ts';
import { DEBUG_REGISTERS } from './debug-registers.ts';
import { DebugTarget } from './debug-target.ts';
import { describe } from './describe.ts';
import { placeGuest } from './entry.ts';
import {
  checkSnapshotOptions,
  hypervisorModule,
  type Machine,
  type MachineOptions,
  type MachineRequest,
  type ProcessorStatistics,
  type RunLimits,
  type Statistics,
} from './options.ts';
import { codeName, connect, createEngine, hostClockOf, type Parts, type ProcessorParts } from './parts.ts';
import { RunLoop } from './run.ts';
import { learnedSince, noteWrites, restoreSnapshot, takeSnapshot } from './snapshots.ts';

/** @throws ImageError (boot/image-error.ts) for an image that cannot boot here; Error for misuse. */
export async function createMachine(options: MachineOptions): Promise<Machine> {
  return options.engine === 'both' ? compareTiers(options, assemble) : (await assemble(options)).machine;
}

/** A machine, and its engine for those who look inside. */
export async function assemble(options: MachineOptions): Promise<Assembled> {
  checkSnapshotOptions(options);
  const { kernel, snapshot, door } = options;
  const module = hypervisorModule(options);
  const code = codeName(options);
  const engine = createEngine(options);
  const image = kernel
    ? await parseKernel(kernel).catch(error => {
        engine.close();
        throw error;
      })
    : DISK_IMAGE;
  // RAM is all zeros up to here. What is written while the parts are connected is not the snapshot's.
  const writes = snapshot && noteWrites(engine.memory);
  const parts: Parts = connect(engine.core, options, module, {
    onTyping: () => engine.core.vcpus.every(({ halted }) => halted) && parts.time.following?.idle(),
    onTyped: () => loop.wake(),
  });
  const host = hostClockOf(options);
  const stopwatch = typeof options.clock === 'object' ? options.clock : portableClock;
  const loop = new RunLoop(parts, host ?? door?.clock(portableClock) ?? portableClock, stopwatch, door);
  const { table, context, board, processors } = parts;
  const wish = (what: MachineRequest) => {
    if (engine.core.vcpus.every(({ halted }) => halted)) parts.time.following?.idle();
    if (what === 'shutdown') {
      if (!table.requestShutdown?.()) board?.pressPowerButton();
    } else if (!table.requestMemory?.(what.memory)) board?.requestMemory(what.memory);
    loop.wake();
  };
  const { clock } = parts.time;
  const place = () => {
    const time = clock.now();
    return { instructions: engine.core.instructions, time, isDue: clock.next <= time };
  };
  door?.connect({
    inputs: {
      type: parts.input.accept,
      serial: data => parts.serial?.accept(data),
      request: wish,
      frame: parts.network.accept,
    },
    onInput: () => loop.nudge(),
    place,
    get host() {
      return { turned: loop.turned, time: parts.time.following?.here };
    },
    set host({ turned, time }) {
      loop.turned = turned;
      if (time) parts.time.following?.goOn(time);
    },
  });
  if (door?.goesOn) parts.time.following?.hold();
  if (writes) await restoreSnapshot(parts, snapshot, door?.goesOn ? undefined : host, writes);
  else enter(processors[0].processor, placeGuest(image, options, table, context, board));
  return { machine: control(parts, loop, code, snapshot !== undefined, door?.inputs.request ?? wish), engine };
}

/** What the embedder sees. A function of its own, for nothing that outlives `assemble` may hold on to the images. */
function control(
  parts: Parts,
  loop: RunLoop,
  code: string,
  restored: boolean,
  request: (what: MachineRequest) => void,
): Machine {
  const { core, input, log } = parts;
  let marks: ReadonlyMap<number, number> = new Map();
  return machineOf({
    run: limits => (restored ? runRestored(parts, loop, limits) : loop.run(limits)),
    snapshot: ({ learns = false, like, passing = false } = {}) => {
      const snapshot = takeSnapshot(parts, code, like, passing);
      if (learns) {
        core.startAfresh();
        marks = marksOf(snapshot.memory);
      }
      return snapshot;
    },
    core: () => coreOf(parts),
    learned: () => learnedSince(parts, marks),
    debug: () => new DebugTarget(parts),
    stop: () => loop.stop(),
    request,
    type: input.type,
    statistics: () => statistics(parts, loop),
    instructions: () => core.instructions,
    describe: () => describe(parts.processors),
    log: log.lines,
    epoch: () => parts.time.clock.epoch,
  });
}

/**
 * A snapshot may come from anywhere, and what its devices and hypervisors know need not fit together. Where that leads to what we
 * take for impossible, it is this guest's end and no mistake of ours.
 */
async function runRestored({ ending }: Parts, loop: RunLoop, limits: RunLimits): Promise<Exit> {
  try {
    return await loop.run(limits);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    if (error instanceof Divergence) return { kind: 'killed', reason: error.message };
    ending.kill(`what the snapshot says does not fit together: ${error.message}`);
    return ending.exit!;
  }
}

/** Guest time without a reading, which would be part of what it becomes: somebody who looks on changes nothing. */
const seenTime = ({ time }: Parts) => time.following?.latest ?? time.clock.now();

/** The guest as a core file has it. */
function coreOf({ core, processors }: Parts): Uint8Array[] {
  const registers = processors.map(({ vcpu, processor }) => (name: string) => {
    const register = DEBUG_REGISTERS.find(register => register.name === name);
    if (!register) throw new Error(`no register ${name}`);
    return register.read(vcpu.cpu, processor);
  });
  return coreFile({ memory: core.memory.bytes, processors: registers });
}

function statistics(parts: Parts, loop: RunLoop): Statistics {
  const { core, table, operations, tallies, network } = parts;
  const processors = parts.processors.map(one => processorStatistics(one, parts, loop));
  const paths = core.pathCounts;
  // Which of them a fast path answers depends on what the engine has at hand: all together are the guest's, and repeat.
  const answered = paths.flatMap(({ hypercall, count }) =>
    hypercall === undefined || !count ? [] : ([[hypercall, count]] as const),
  );
  const hypercalls = answered.map(([, count]) => ({ hypercall: count }));
  return {
    hypervisor: table.name,
    instructions: core.instructions,
    guestTime: seenTime(parts),
    hostTime: loop.hostTime,
    haltedTime: loop.haltedTime,
    stolenTime: loop.stolenTime,
    exits: sumOf([...processors.map(({ exits }) => exits), ...hypercalls]),
    operations: operations.named(paths.map(({ operation, count }) => [operation, count])),
    ...tallies.named(answered),
    processors,
    networks: network.statistics(),
    ...(core.jit && { translation: { ...core.jit.statistics } }),
  };
}

function processorStatistics(
  { vcpu, processor, activity }: ProcessorParts,
  parts: Parts,
  loop: RunLoop,
): ProcessorStatistics {
  const { instructions } = vcpu;
  const { time, processors } = parts;
  const alone = time.virtual ? instructions : Math.max(0, seenTime(parts) - loop.haltedTime);
  return {
    instructions,
    ranTime: processors.length > 1 ? activity.ran : alone,
    waitedTime: processor.waited,
    turns: activity.turns,
    ipis: processor.ipis,
    exits: activity.exits.named(),
  };
}
