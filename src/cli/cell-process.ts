/** A process in which cells of the matrix run, one after the other: gets an order from the parent and sends what becomes of it. */

import { diskCache } from '../host/node/artifact-cache.ts';
import { keepCode } from '../host/node/code-cache.ts';
import { collectGarbage, keepYoungGenerationSmall, optimiseLess } from '../host/node/collect-garbage.ts';
import { workerTranslator } from '../host/node/translator.ts';
import { RegionLibrary } from '../index.ts';
import { bootAgain, type CellProgress, runCell } from './cell.ts';
import type { CellMessage, CellOrder } from './cell-messages.ts';

const send = (message: CellMessage) =>
  new Promise<void>(resolve => {
    if (process.connected) process.send!(message, undefined, {}, () => resolve());
    else resolve();
  });

keepYoungGenerationSmall();
const library = new RegionLibrary();

// Nobody is left to hear of the cell.
process.on('disconnect', () => process.exit(1));
// Ctrl-C goes to the whole group: the parent decides what is to become of its cells.
for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, () => {});

process.on('message', async ({ spec, before, spareCore }: CellOrder) => {
  if (!spareCore) optimiseLess();
  const workshop = { cache: diskCache, library, ...(spareCore && { translator: workerTranslator }) };
  try {
    const onProgress = (progress: CellProgress) => void send({ kind: 'progress', progress });
    const result = before
      ? await bootAgain(spec, workshop, before, onProgress)
      : await runCell(spec, workshop, onProgress);
    await send({ kind: 'result', result });
    keepCode();
  } catch (error) {
    await send({ kind: 'mistake', message: error instanceof Error ? error.message : String(error) });
  }
  collectGarbage(); // The machine's memory above all.
});
