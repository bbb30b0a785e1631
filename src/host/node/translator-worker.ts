/** The worker of `workerTranslator`: turns requests into modules, beside the guest. */
import { setFlagsFromString } from 'node:v8';
import { workerData } from 'node:worker_threads';
import type { Translation } from '../../engine/jit/translator.ts';
import type { CompiledModule } from '../../wasm/objects.ts';
import type { WorkerAnswer, WorkerOrder, WorkerSetup } from './translator.ts';

const { setup, port, finished } = workerData as WorkerSetup;
/** Loaded when there is something to translate: what earlier processes have translated can be compiled before. */
let translation: Promise<Translation> | undefined;
// Compiled before it is handed over, not on the guest's thread when a function is first called.
setFlagsFromString('--no-wasm-lazy-compilation');

const answer = (message: WorkerAnswer) => {
  port.postMessage(message);
  Atomics.add(finished, 0, 1);
};
port.on('message', async (order: WorkerOrder) => {
  if ('modules' in order) {
    for (const bytes of order.modules) answer({ compiled: compiledOrNot(bytes) });
    return;
  }
  translation ??= import('../../engine/jit/translator.ts').then(({ Translation }) => new Translation(setup));
  const bytes = (await translation).module(order.requests);
  const module = { bytes, compiled: new WebAssembly.Module(bytes) };
  answer({ module, ids: order.requests.map(request => request.id) });
});

/** Undefined for what is no module: a cache may be damaged. */
function compiledOrNot(bytes: Uint8Array<ArrayBuffer>): CompiledModule | undefined {
  try {
    return new WebAssembly.Module(bytes);
  } catch {
    return undefined;
  }
}
