/** The thread in which a machine runs: see thread.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { diskCache } from '../host/node/artifact-cache.ts';
import { nodeClock } from '../host/node/clock.ts';
import { collectGarbage } from '../host/node/collect-garbage.ts';
import { loadHypervisor } from '../host/node/load-hypervisor.ts';
import { preferThisThread } from '../host/node/thread-priority.ts';
import { workerTranslator } from '../host/node/translator.ts';
import { createMachine, type Machine, traced } from '../index.ts';
import { VIRTUAL_EPOCH } from '../machine/time.ts';
import type { Crossing } from '../paravirt/trace.ts';
import { createBatch } from './batch.ts';
import { openDisk } from './disks.ts';
import { status } from './exit-status.ts';
import { withFileLater } from './failure.ts';
import { openFolders } from './folders.ts';
import { openNetworks } from './networks.ts';
import {
  type CountedCrossing,
  type FromThread,
  type State,
  sendable,
  type ThreadOptions,
  type ThreadStart,
  type ToThread,
} from './thread-messages.ts';
import { parseHypervisor } from './values.ts';
import { createWatch } from './watch.ts';

/** How often a running machine's state is sent, in milliseconds. */
const STATE_EVERY = 200;
/** Crossings sent at once. */
const BATCH = 64;

const { cells } = workerData as ThreadStart;
const send = (message: FromThread) => parentPort!.postMessage(message);
const stateOf = (machine: Machine): State => ({ statistics: machine.statistics, description: machine.describe() });

interface Made {
  machine: Machine;
  type(data: Uint8Array): void;
  /** Gives the command's input to the channel. */
  give(data: Uint8Array | undefined): void;
  flush(): void;
}

async function make(options: ThreadOptions): Promise<Made> {
  const { hypervisor: name, isFile, clock, disks, folders, net, trace, ...rest } = options;
  const watch = createWatch(cells, name => send({ kind: 'operation', name }));
  const hypervisor = isFile
    ? await withFileLater(name, status.noInput, () => loadHypervisor(name, watch))
    : parseHypervisor(name);
  let crossings: CountedCrossing[] = [];
  const output = createBatch(data => send({ kind: 'console', data }));
  const flush = () => {
    output.flush();
    if (crossings.length > 0) send({ kind: 'trace', crossings });
    crossings = [];
  };
  const note = (crossing: Crossing) => {
    if (crossings.push({ crossing, instructions: machine?.instructions ?? 0 }) < BATCH) return;
    send({ kind: 'trace', crossings });
    crossings = [];
  };
  let type = (_data: Uint8Array) => {};
  let machine: Machine | undefined;
  const ends = {
    output: (stream: 'stdout' | 'stderr', data: Uint8Array) => send({ kind: 'output', stream, data }),
    status: (value: number) => send({ kind: 'status', status: value }),
    wantsInput: () => send({ kind: 'wants-input' }),
  };
  // On the virtual clock, what a guest sees is the same in every run: times, too.
  const now = () => (clock === 'host' ? nodeClock.wall() : VIRTUAL_EPOCH);
  const opened = await openFolders(folders, ends, now);
  machine = await createMachine({
    translator: workerTranslator,
    cache: diskCache,
    ...rest,
    hypervisor: trace ? traced(hypervisor, note) : hypervisor,
    clock: clock === 'host' ? nodeClock : 'virtual',
    disks: disks.map(openDisk),
    backEnds: { folders: opened.folders, networks: await openNetworks(net) },
    console: { write: output.add, onInput: take => void (type = take) },
    onLog: line => send({ kind: 'log', line }),
  });
  preferThisThread();
  collectGarbage(); // The kernel's file and what came out of it: all that counts is in the guest's memory now.
  // Once more when the run has begun: what is freed in the background the first time is not always given back.
  setTimeout(collectGarbage, 1000).unref();
  const give = (data: Uint8Array | undefined) => {
    opened.channel?.give(data);
    // Wakes a guest that is halted: an interrupt waits for it.
    type(new Uint8Array(0));
  };
  return { machine, type: data => type(data), give, flush };
}

/** Does what the main thread asks of a machine. */
async function obey({ machine, type, give, flush }: Made, message: ToThread): Promise<void> {
  if (message.kind === 'type') return type(message.data);
  if (message.kind === 'input') return give(message.data);
  if (message.kind === 'stop') return machine.stop();
  if (message.kind === 'request') return machine.request(message.what);
  if (message.kind !== 'run') return;
  const timer = setInterval(() => send({ kind: 'state', state: stateOf(machine) }), STATE_EVERY);
  try {
    const exit = await machine.run(message.limits);
    flush();
    send({ kind: 'exit', exit, state: stateOf(machine) });
  } catch (error) {
    flush();
    send({ kind: 'failed', error: sendable(error) });
  } finally {
    clearInterval(timer);
  }
}

/** @returns undefined where the machine could not be made, which has been said then */
async function begin(options: ThreadOptions): Promise<Made | undefined> {
  try {
    const made = await make(options);
    send({ kind: 'ready', state: stateOf(made.machine) });
    return made;
  } catch (error) {
    send({ kind: 'failed', error: sendable(error) });
    return undefined;
  }
}

// What comes while the machine is being made waits for it.
let making: Promise<Made | undefined> | undefined;
parentPort!.on('message', async (message: ToThread) => {
  if (message.kind === 'make') {
    making = begin(message.options);
    return;
  }
  const made = await making;
  if (made) await obey(made, message);
});
