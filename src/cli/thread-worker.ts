/** The thread in which a machine runs whose hypervisor is a file: see thread.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { diskCache } from '../host/node/artifact-cache.ts';
import { nodeClock } from '../host/node/clock.ts';
import { loadHypervisor } from '../host/node/load-hypervisor.ts';
import { preferThisThread } from '../host/node/thread-priority.ts';
import { workerTranslator } from '../host/node/translator.ts';
import { createMachine, type Machine, traced } from '../index.ts';
import type { Crossing } from '../paravirt/trace.ts';
import { openDisk } from './disks.ts';
import { status } from './exit-status.ts';
import { withFileLater } from './failure.ts';
import { type FromThread, type State, sendable, type ThreadStart, type ToThread } from './thread-messages.ts';
import { createWatch } from './watch.ts';

/** How often a running machine's state is sent, in milliseconds. */
const STATE_EVERY = 200;
/** Crossings sent at once. */
const BATCH = 64;

const { cells, options } = workerData as ThreadStart;
const send = (message: FromThread) => parentPort!.postMessage(message);
const stateOf = (machine: Machine): State => ({ statistics: machine.statistics, description: machine.describe() });

async function prepare(): Promise<{ machine: Machine; type(data: Uint8Array): void; flush(): void }> {
  const { file, clock, disks, trace, ...rest } = options;
  const watch = createWatch(cells, name => send({ kind: 'operation', name }));
  const hypervisor = await withFileLater(file, status.noInput, () => loadHypervisor(file, watch));
  let crossings: Crossing[] = [];
  const flush = () => {
    if (crossings.length > 0) send({ kind: 'trace', crossings });
    crossings = [];
  };
  const note = (crossing: Crossing) => {
    if (crossings.push(crossing) >= BATCH) flush();
  };
  let type = (_data: Uint8Array) => {};
  const machine = await createMachine({
    translator: workerTranslator,
    cache: diskCache,
    ...rest,
    hypervisor: trace ? traced(hypervisor, note) : hypervisor,
    clock: clock === 'host' ? nodeClock : 'virtual',
    disks: disks.map(openDisk),
    console: { write: data => send({ kind: 'console', data: data.slice() }), onInput: take => void (type = take) },
    onLog: line => send({ kind: 'log', line }),
  });
  preferThisThread();
  return { machine, type: data => type(data), flush };
}

try {
  const { machine, type, flush } = await prepare();
  parentPort!.on('message', async (message: ToThread) => {
    if (message.kind === 'type') type(message.data);
    else if (message.kind === 'stop') machine.stop();
    else {
      const timer = setInterval(() => send({ kind: 'state', state: stateOf(machine) }), STATE_EVERY);
      try {
        const exit = await machine.run(message.limits);
        flush();
        send({ kind: 'exit', exit, state: stateOf(machine) });
      } catch (error) {
        send({ kind: 'failed', error: sendable(error) });
      } finally {
        clearInterval(timer);
      }
    }
  });
  send({ kind: 'ready', state: stateOf(machine) });
} catch (error) {
  send({ kind: 'failed', error: sendable(error) });
}
