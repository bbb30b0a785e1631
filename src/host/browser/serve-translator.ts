/** The worker of `browserTranslator`: its script calls `serveTranslator(self)`. */
import { Translation } from '../../engine/jit/translator.ts';
import type { RemotePort } from '../../remote/port.ts';
import type { TranslatorAnswer, TranslatorOrder } from './translator.ts';

export function serveTranslator(port: RemotePort): void {
  let translation: Translation | undefined;
  const answer = (message: TranslatorAnswer) => port.postMessage(message, []);
  port.addEventListener('message', ({ data }) => {
    const order = data as TranslatorOrder;
    if ('setup' in order) translation = new Translation(order.setup);
    else if ('modules' in order) for (const bytes of order.modules) answer({ compiled: compiledOrNot(bytes) });
    else {
      const bytes = translation!.module(order.requests);
      const module = { bytes, compiled: new WebAssembly.Module(bytes) };
      answer({ module, ids: order.requests.map(({ id }) => id) });
    }
  });
}

/** Undefined for what is no module: a cache may be damaged. */
function compiledOrNot(bytes: Uint8Array<ArrayBuffer>): WebAssembly.Module | undefined {
  try {
    return new WebAssembly.Module(bytes);
  } catch {
    return undefined;
  }
}
