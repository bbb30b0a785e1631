/** The worker of `workerTranslator`: turns requests into modules, beside the guest. */
import { setFlagsFromString } from 'node:v8';
import { workerData } from 'node:worker_threads';
import { Translation, type TranslationRequest } from '../../engine/jit/translator.ts';
import type { WorkerSetup } from './translator.ts';

const { setup, port, finished } = workerData as WorkerSetup;
const translation = new Translation(setup);
// Compiled before it is handed over, not on the guest's thread when a function is first called.
setFlagsFromString('--no-wasm-lazy-compilation');

port.on('message', (requests: TranslationRequest[]) => {
  const module = new WebAssembly.Module(translation.module(requests));
  port.postMessage({ module, ids: requests.map(request => request.id) });
  Atomics.add(finished, 0, 1);
});
