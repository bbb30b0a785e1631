/** Translation beside the guest: a worker thread makes the modules, and the guest goes on in the interpreter until they come. */
import { availableParallelism } from 'node:os';
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import type { RegionModule } from '../../engine/jit/library.ts';
import {
  LocalTranslator,
  type TranslationRequest,
  type Translator,
  type TranslatorFactory,
  type TranslatorSetup,
} from '../../engine/jit/translator.ts';
import type { CompiledModule } from '../../wasm/objects.ts';

export interface WorkerSetup {
  setup: TranslatorSetup;
  port: MessagePort;
  /** How many modules have been posted: `poll` looks here before it asks the port. */
  finished: Int32Array;
}
/** To the worker: regions to be translated, or modules to be compiled. */
export type WorkerOrder = { requests: readonly TranslationRequest[] } | { modules: Uint8Array<ArrayBuffer>[] };
/** From it: a module of regions that were requested, or the modules of an order, one by one. */
export type WorkerAnswer = { module: RegionModule; ids: number[] } | { compiled: CompiledModule | undefined };

/**
 * For `MachineOptions.translator`: a worker a machine, once there is something for it to do. Where it cannot start or fails, translation goes on without it; so it does
 * from the start where there is but one processor, which a worker could only take from the guest.
 */
export const workerTranslator: TranslatorFactory = setup =>
  availableParallelism() > 1 ? new WorkerTranslator(setup) : new LocalTranslator(setup);

class WorkerTranslator implements Translator {
  readonly ownThread = true;
  onModule: Translator['onModule'] = () => {};
  readonly #setup: TranslatorSetup;
  #started: { port: MessagePort; worker: Worker } | undefined;
  readonly #finished = new Int32Array(new SharedArrayBuffer(4));
  readonly #waiting = new Set<number>();
  /** In the order in which they come. */
  readonly #uncompiled: RegionModule[] = [];
  #taken = 0;
  #local: Translator | undefined;

  constructor(setup: TranslatorSetup) {
    this.#setup = setup;
  }
  get #port(): MessagePort {
    return (this.#started ??= this.#start()).port;
  }
  #start() {
    const setup = this.#setup;
    const { port1: port, port2 } = new MessageChannel();
    const workerData: WorkerSetup = { setup, port: port2, finished: this.#finished };
    const worker = new Worker(new URL('./translator-worker.js', import.meta.url), {
      workerData,
      transferList: [port2],
    });
    // Neither keeps the process alive.
    worker.unref();
    port.unref();
    worker.on('error', () => {
      this.#local = new LocalTranslator(setup);
      this.#local.onModule = (module, ids) => this.onModule(module, ids);
      // What it had is lost: these places stay with the interpreter.
      this.#waiting.clear();
      this.#local.compile(this.#uncompiled.splice(0));
    });
    return { port, worker };
  }
  get outstanding(): number {
    return this.#waiting.size;
  }
  translate(requests: readonly TranslationRequest[]): void {
    if (this.#local) return this.#local.translate(requests);
    for (const { id } of requests) this.#waiting.add(id);
    this.#port.postMessage(
      { requests } satisfies WorkerOrder,
      requests.flatMap(({ pages }) => pages.map(({ bytes }) => bytes.buffer as ArrayBuffer)),
    );
  }
  compile(modules: readonly RegionModule[]): void {
    if (this.#local) return this.#local.compile(modules);
    if (modules.length === 0) return;
    this.#uncompiled.push(...modules);
    this.#port.postMessage({ modules: modules.map(({ bytes }) => bytes) } satisfies WorkerOrder);
  }
  poll(): void {
    while (this.#taken !== Atomics.load(this.#finished, 0)) {
      const answer = receiveMessageOnPort(this.#port)?.message as WorkerAnswer | undefined;
      if (!answer) return;
      this.#taken++;
      if ('compiled' in answer) this.#uncompiled.shift()!.compiled = answer.compiled;
      else {
        for (const id of answer.ids) this.#waiting.delete(id);
        this.onModule(answer.module, answer.ids);
      }
    }
  }
  close(): void {
    void this.#started?.worker.terminate();
    this.#started?.port.close();
  }
}
