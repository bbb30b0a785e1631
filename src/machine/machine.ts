/**
 * One virtual machine: `createMachine` puts it together and hands out what an embedder may do with it. Reading order of this
 * folder: options.ts, this file, parts.ts (what is plugged into what), questions.ts and interrupts.ts (what a processor asks),
 * entry.ts (how the guest starts), run.ts (the loop).
 */
import { DISK_IMAGE, parseKernel } from '../boot/image.ts';
import { compareTiers } from '../compare-tiers.ts';
import { portableClock } from '../host/portable-clock.ts';
import type { Assembled } from './compare-machines.ts';
import { machineOf } from './controls.ts';
import { describe } from './describe.ts';
import { enter, placeGuest } from './entry.ts';
import { hypervisorModule, type Machine, type MachineOptions, type Statistics } from './options.ts';
import { connect, createEngine, type Parts } from './parts.ts';
import { RunLoop } from './run.ts';

/** @throws ImageError (boot/image-error.ts) for an image that cannot boot here; Error for misuse. */
export async function createMachine(options: MachineOptions): Promise<Machine> {
  return options.engine === 'both' ? compareTiers(options, assemble) : (await assemble(options)).machine;
}

/** A machine, and its engine for those who look inside. */
export async function assemble(options: MachineOptions): Promise<Assembled> {
  const module = hypervisorModule(options);
  const engine = createEngine(options);
  const { kernel } = options;
  const image = kernel
    ? await parseKernel(kernel).catch(error => {
        engine.close();
        throw error;
      })
    : DISK_IMAGE;
  const parts: Parts = connect(engine, options, module, {
    onTyping: () => engine.halted && parts.time.following?.idle(),
    onTyped: () => loop.wake(),
  });
  const loop = new RunLoop(parts, typeof options.clock === 'object' ? options.clock : portableClock);
  const { table, context, board, processors } = parts;
  enter(processors[0].processor, placeGuest(image, options, table, context, board));
  return { machine: control(parts, loop), engine };
}

/** What the embedder sees. A function of its own, for nothing that outlives `assemble` may hold on to the images. */
function control(parts: Parts, loop: RunLoop): Machine {
  const { engine, input, log, processors } = parts;
  return machineOf({
    run: limits => loop.run(limits),
    stop: () => loop.stop(),
    type: input.type,
    statistics: () => statistics(parts, loop),
    instructions: () => engine.instructions,
    describe: () => describe(processors[0].processor, engine),
    log: log.lines,
  });
}

function statistics(parts: Parts, loop: RunLoop): Statistics {
  const { engine, table, time, exits, operations, tallies } = parts;
  return {
    hypervisor: table.name,
    instructions: engine.instructions,
    guestTime: time.clock.now(),
    hostTime: loop.hostTime,
    haltedTime: loop.haltedTime,
    stolenTime: loop.stolenTime,
    exits: exits.named(),
    operations: operations.named(),
    ...tallies.named(),
    ...(engine.jit && { translation: { ...engine.jit.statistics } }),
  };
}
