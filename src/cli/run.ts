/** `polyvisor run`: one machine on this terminal, from the files named to the exit status. */
import { closeSync, openSync } from 'node:fs';
import { nodeClock } from '../host/node/clock.ts';
import { openDiskFile } from '../host/node/disk-file.ts';
import { createMachine, type Disk, ImageError, traced } from '../index.ts';
import { status, statusOf } from './exit-status.ts';
import { Failure, withFile } from './failure.ts';
import { loadImages } from './images.ts';
import { reportEnding, writeSummary } from './report.ts';
import { createSession } from './session.ts';
import { parseSettings, type RunOptions } from './settings.ts';
import { openTraceFile } from './trace-file.ts';

/** @returns the exit status. @throws Failure, ImageError */
export async function run(options: RunOptions): Promise<number> {
  const settings = parseSettings(options);
  const { hypervisor, json } = settings;
  // A summary that cannot be written is better known before the run than after it.
  if (json) withFile(json, status.output, () => closeSync(openSync(json, 'a')));
  const disks: Disk[] = [];
  const trace = settings.trace === undefined ? undefined : openTraceFile(settings.trace);
  try {
    for (const { path, readOnly } of settings.disks)
      disks.push(withFile(path, status.noInput, () => openDiskFile(path, { readOnly })));
    const images = await loadImages(settings);
    const session = createSession({ ...settings, ownGuest: images.ownGuest });
    const machine = await cannotBoot(images.name, () =>
      createMachine({
        kernel: images.kernel,
        initrd: images.initrd,
        append: [session.parameters, settings.append].filter(Boolean).join(' '),
        memory: settings.memory,
        hypervisor: trace ? traced(hypervisor, trace.add) : hypervisor,
        clock: settings.clock === 'host' ? nodeClock : 'virtual',
        console: session.console,
        disks,
        engine: settings.engine,
        onLog: line => void (settings.verbose && process.stderr.write(`polyvisor: ${line}\n`)),
      }),
    );
    const ending = await session.run(machine);
    reportEnding(ending, machine, session.unseen);
    if (json) writeSummary(json, { ending, machine, options: { ...options }, wallTime: performance.now() / 1000 });
    return statusOf(ending);
  } finally {
    trace?.close();
    for (const disk of disks) disk.close();
  }
}

/** An image error says what is wrong with a file; here it is told which. */
async function cannotBoot<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    throw new Failure(`cannot boot ${name}: ${error.message}`, status.image);
  }
}
