import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { compareVersions } from './debian-version.ts';

const ORDERED = [
  '0~rc1-1',
  '0-1',
  '0.9',
  '1.0~~',
  '1.0~beta1',
  '1.0',
  '1.0-0.1',
  '1.0-1',
  '1.0a',
  '1.0+b1',
  '1.2',
  '1.10',
  '6.1.9-2',
  '6.1.55-1',
  '6.1.129-1~deb12u1',
  '6.1.129-1',
  '6.12.3-1',
  '1:0.1',
];
const sign = (number: number) => Math.sign(number);

test('versions are in the order that deb-version(7) gives', () => {
  for (const [i, a] of ORDERED.entries())
    for (const [j, b] of ORDERED.entries()) assert.equal(sign(compareVersions(a, b)), sign(i - j), `${a} and ${b}`);
});

test('dpkg says the same', { skip: spawnSync('dpkg', ['--version']).status !== 0 && 'there is no dpkg here' }, () => {
  for (const [index, version] of ORDERED.entries())
    if (index > 0)
      assert.equal(spawnSync('dpkg', ['--compare-versions', ORDERED[index - 1]!, 'lt', version]).status, 0, version);
});
