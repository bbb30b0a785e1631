/**
 * Programs for x86-64-v3 (guests/x86-64-v3): what they compute on the host's processor and in a guest is the same, alone and beside
 * another one, with signals in between.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { polyvisor, root } from './command.ts';

const FLAGS = ['-O3', '-march=x86-64-v3', '-static', '-Wall', '-Wextra', '-Werror', '-frounding-math'];
const NEEDED = ['avx2', 'fma', 'f16c', 'bmi2', 'movbe', 'abm'];
/** Rounds of the two programs that run at once: some hundred milliseconds each. */
const ROUNDS = 12;

/** Why not here. */
function reason(): string | false {
  if (spawnSync('gcc', ['--version']).status !== 0) return 'gcc is not installed: it builds the program';
  const processor = existsSync('/proc/cpuinfo') ? readFileSync('/proc/cpuinfo', 'utf8') : '';
  const missing = NEEDED.filter(name => !new RegExp(`^flags.*\\b${name}\\b`, 'm').test(processor));
  return missing.length > 0 && `the host's processor has no ${missing.join(', ')}`;
}

describe('a program for x86-64-v3', { skip: reason() }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'polyvisor-v3-'));
  const file = join(folder, 'v3');
  after(() => rmSync(folder, { recursive: true }));

  test('computes what it computes on the host', async () => {
    execFileSync('gcc', [...FLAGS, '-o', file, join(root, 'guests/x86-64-v3/v3.c'), '-lm']);
    const expected = execFileSync(file, { encoding: 'utf8' });
    const twice = `/mnt/share/v3 ${ROUNDS} >/tmp/one & /mnt/share/v3 ${ROUNDS} >/tmp/two; wait; cmp /tmp/one /tmp/two`;
    const command = `/mnt/share/v3 && ${twice} && tail -n 1 /tmp/one`;
    const { status, stdout, stderr } = await polyvisor([
      ...['run', '--cpu', 'x86-64-v3', '--share', `${folder},ro`, '--net', 'none', '--exec', command],
    ]);
    assert.equal(status, 0, stderr);
    const last = execFileSync(file, [String(ROUNDS)], { encoding: 'utf8' })
      .trimEnd()
      .split('\n')
      .at(-1);
    assert.equal(stdout, `${expected}${last}\n`);
  });

  test('does not start where CPUID does not offer it', async () => {
    const probe = `grep -c avx /proc/cpuinfo; /mnt/share/v3`;
    const { status, stdout, stderr } = await polyvisor([
      ...['run', '--cpu', 'x86-64-v2', '--share', `${folder},ro`, '--net', 'none', '--exec', probe],
    ]);
    assert.match(stdout, /^0\n/);
    // 128 + SIGILL.
    assert.equal(status, 132, `${stdout}${stderr}`);
  });
});
