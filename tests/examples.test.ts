/** The examples run and do what they say, and README.md shows them as they stand. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const EXAMPLES = {
  'talk-to-a-guest': /^The guest says: Linux \d+\.\d+\.\S+-cloud-amd64\nIt ended: stopped, after \d+ instructions\n$/,
  'exit-port': /^\{ kind: 'power-off', status: 5 \}\n$/,
};

for (const [name, expected] of Object.entries(EXAMPLES))
  describe(name, () => {
    test('README.md shows it', () => {
      const read = (file: string) => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');
      assert.ok(
        read('README.md').includes(read(`examples/${name}.ts`)),
        `examples/${name}.ts has changed: README.md too?`,
      );
    });

    test('it runs', { timeout: 300_000 }, async () => {
      const file = fileURLToPath(new URL(`../examples/${name}.js`, import.meta.url));
      const { stdout } = await promisify(execFile)(process.execPath, [file], { timeout: 240_000 });
      assert.match(stdout, expected);
    });
  });
