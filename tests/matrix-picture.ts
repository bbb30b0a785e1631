/** A picture of a report, as the README has one: its upper part, in the browser of the tests. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { htmlReport } from '../src/matrix/html.ts';
import type { MatrixReport } from '../src/matrix/result.ts';
import { Browser } from './browser.ts';

/** Pixels: down to the first tests. */
const SCREEN = { width: 1160, height: 780 };

/** @returns a PNG. */
export async function matrixPicture(report: MatrixReport, program: string): Promise<Buffer> {
  const folder = mkdtempSync(join(tmpdir(), 'polyvisor-picture-'));
  const browser = await Browser.start(program);
  try {
    writeFileSync(join(folder, 'report.html'), htmlReport(report));
    await browser.open(pathToFileURL(join(folder, 'report.html')).href, SCREEN);
    await browser.evaluate(`document.documentElement.style.overflow = 'hidden'`); // No scroll bar in the picture.
    return await browser.picture();
  } finally {
    await browser.close();
    rmSync(folder, { recursive: true });
  }
}
