/** Translation beside the guest, in a worker of the browser's: what host/node/translator.ts is in Node.js. */
import type { RegionModule } from '../../engine/jit/library.ts';
import {
  LocalTranslator,
  type TranslationRequest,
  type Translator,
  type TranslatorFactory,
  type TranslatorSetup,
} from '../../engine/jit/translator.ts';
import type { BrowserWorker } from './browser.ts';

/** To the worker; `setup` comes first. */
export type TranslatorOrder =
  | { setup: TranslatorSetup }
  | { requests: readonly TranslationRequest[] }
  | { modules: Uint8Array<ArrayBuffer>[] };
/** From it: a module of regions that were requested, or the modules of an order, one by one. */
export type TranslatorAnswer = { module: RegionModule; ids: number[] } | { compiled: WebAssembly.Module | undefined };

/**
 * For `MachineOptions.translator`.
 * @param start starts a worker whose script calls `serveTranslator`. Where it fails, translation goes on without it
 */
export const browserTranslator =
  (start: () => BrowserWorker): TranslatorFactory =>
  setup =>
    new WorkerTranslator(setup, start());

class WorkerTranslator implements Translator {
  readonly ownThread = true;
  onModule: Translator['onModule'] = () => {};
  readonly #worker: BrowserWorker;
  readonly #waiting = new Set<number>();
  readonly #answers: TranslatorAnswer[] = [];
  /** In the order in which they come. */
  readonly #uncompiled: RegionModule[] = [];
  #local: Translator | undefined;

  constructor(setup: TranslatorSetup, worker: BrowserWorker) {
    this.#worker = worker;
    worker.addEventListener('message', ({ data }) => void this.#answers.push(data as TranslatorAnswer));
    worker.addEventListener('error', () => {
      if (this.#local) return;
      this.#local = new LocalTranslator(setup);
      this.#local.onModule = (module, ids) => this.onModule(module, ids);
      // What it had is lost: these places stay with the interpreter.
      this.#waiting.clear();
      this.#local.compile(this.#uncompiled.splice(0));
    });
    this.#send({ setup });
  }
  #send(order: TranslatorOrder, transfer: ArrayBuffer[] = []): void {
    this.#worker.postMessage(order, transfer);
  }
  get outstanding(): number {
    return this.#waiting.size;
  }
  translate(requests: readonly TranslationRequest[]): void {
    if (this.#local) return this.#local.translate(requests);
    for (const { id } of requests) this.#waiting.add(id);
    const pages = requests.flatMap(({ pages }) => pages.map(({ bytes }) => bytes.buffer as ArrayBuffer));
    this.#send({ requests }, pages);
  }
  compile(modules: readonly RegionModule[]): void {
    if (this.#local) return this.#local.compile(modules);
    if (modules.length === 0) return;
    this.#uncompiled.push(...modules);
    this.#send({ modules: modules.map(({ bytes }) => bytes) });
  }
  /** Messages have arrived in the turns that the machine gives its host. */
  poll(): void {
    if (this.#answers.length === 0) return;
    for (const answer of this.#answers.splice(0)) {
      if ('compiled' in answer) {
        const module = this.#uncompiled.shift();
        if (module) module.compiled = answer.compiled;
      } else {
        for (const id of answer.ids) this.#waiting.delete(id);
        this.onModule(answer.module, answer.ids);
      }
    }
  }
  close(): void {
    this.#worker.terminate();
  }
}
