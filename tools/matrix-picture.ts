/** The README's picture, from a report's JSON: node bin/compiled.cjs tools/matrix-picture report.json docs/matrix.png */
import { readFileSync, writeFileSync } from 'node:fs';
import { parseBaseline } from '../src/matrix/baseline.ts';
import { findChromium } from '../tests/browser.ts';
import { matrixPicture } from '../tests/matrix-picture.ts';

const [file, output] = process.argv.slice(2);
const program = findChromium();
if (!file || !output || !program) throw new Error('needs a report.json, a name for the PNG, and chromium');
writeFileSync(output, await matrixPicture(parseBaseline(readFileSync(file, 'utf8')), program));
