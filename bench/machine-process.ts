/**
 * A machine in a process of its own, its console on standard input and output, that answers questions between workloads:
 * how many instructions so far, what left translated code, where the processor's time went. Options as JSON: argument 1.
 */
import { readFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import { diskCache } from '../src/host/node/artifact-cache.ts';
import { nodeClock } from '../src/host/node/clock.ts';
import { collectGarbage, keepYoungGenerationSmall } from '../src/host/node/collect-garbage.ts';
import { openDiskFile } from '../src/host/node/disk-file.ts';
import { openFolder } from '../src/host/node/folder.ts';
import { nodeSockets } from '../src/host/node/sockets.ts';
import { preferThisThread } from '../src/host/node/thread-priority.ts';
import { workerTranslator } from '../src/host/node/translator.ts';
import { createMachine, type MachineOptions } from '../src/index.ts';
import { userNetwork } from '../src/net/user-network.ts';
import type { Answer, Question } from './counters.ts';
import type { Plugged } from './peers.ts';

interface Options extends Omit<MachineOptions, 'kernel' | 'initrd'> {
  kernel: string;
  initrd: string;
  plugged: Plugged;
}

const LINE_FEED = 0x0a;

keepYoungGenerationSmall(); // As `polyvisor run` does.
const { plugged, ...options } = JSON.parse(process.argv[2]) as Options;
const { disk, network, share } = plugged;
const line: number[] = [];
const machine = await createMachine({
  ...options,
  kernel: readFileSync(options.kernel),
  initrd: readFileSync(options.initrd),
  backEnds: {
    disks: disk ? [openDiskFile(disk.path, { bus: disk.bus })] : [],
    folders: share ? [{ tag: share.tag, files: openFolder(share.path) }] : [],
    networks: network ? [await userNetwork({ sockets: nodeSockets, hostLoopback: true })] : [],
  },
  clock: nodeClock,
  translator: workerTranslator,
  cache: diskCache,
  console: {
    // A line at a time and at once: the host takes its times from what it sees.
    write(data) {
      for (const byte of data) {
        line.push(byte);
        if (byte === LINE_FEED) process.stdout.write(Uint8Array.from(line.splice(0)));
      }
    },
    onInput: take => process.stdin.on('data', take),
  },
});
preferThisThread();
collectGarbage();
setTimeout(collectGarbage, 1000).unref(); // As `polyvisor run` does, too.

const profiler = new Session();
profiler.connect();

process.on('message', (question: Question) => {
  const answer = (value: Answer) => process.send?.(value);
  if (question === 'counters') answer(machine.statistics);
  else if (question === 'profile')
    profiler.post('Profiler.enable', () =>
      profiler.post('Profiler.setSamplingInterval', { interval: 1000 }, () =>
        profiler.post('Profiler.start', () => answer('started')),
      ),
    );
  else profiler.post('Profiler.stop', (error, result) => answer(error ? { nodes: [] } : (result.profile as Answer)));
});

// Whoever started it is no more: nobody would end it.
process.on('disconnect', () => process.exit());

const exit = await machine.run();
process.stderr.write(`the machine ended: ${JSON.stringify(exit)}\n${machine.describe()}\n`);
process.exit(1);
