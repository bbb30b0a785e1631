/** `git bisect run polyvisor matrix --bisect` finds the commit that broke a kernel under one hypervisor. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import { polyvisor, program } from './command.ts';

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-bisect-'));
after(() => rmSync(folder, { recursive: true }));
const git = (...words: string[]) => {
  const identity = ['-c', 'user.name=t', '-c', 'user.email=t@example.org', '-c', 'init.defaultBranch=main'];
  const { status, stdout, stderr } = spawnSync('git', [...identity, ...words], { cwd: folder, encoding: 'utf8' });
  assert.equal(status, 0, `${words.join(' ')}: ${stdout}${stderr}`);
  return stdout;
};
const skip = spawnSync('git', ['--version']).status === 0 ? false : 'git is not installed';

/** mov dx, 0x3f8; mov al, C; out dx, al; …; then for ever to itself. */
const alive = (text: string) => [
  ...[0x66, 0xba, 0xf8, 0x03, ...[...text].flatMap(c => [0xb0, c.charCodeAt(0), 0xee])],
  ...[0xeb, 0xfe],
];
/** mov eax, 0x40000000; cpuid; cmp ebx, "KVMK"; je to itself: a kernel that hangs under KVM alone. */
const BROKEN = [0xb8, 0, 0, 0, 0x40, 0x0f, 0xa2, 0x81, 0xfb, 0x4b, 0x56, 0x4d, 0x4b, 0x74, 0xfe];
const options = [
  '-H',
  'kvm',
  '--bisect',
  'bare',
  '-m',
  '16M',
  '--initrd',
  'initrd',
  '--until',
  'alive',
  '--limit',
  '20M',
];

describe('git bisect run', { skip, timeout: 300_000 }, () => {
  test('finds the first bad one of 12, past one that boots nowhere', () => {
    git('init', '-q');
    writeFileSync(join(folder, 'initrd'), 'x');
    const FIRST_BAD = 8;
    for (let version = 0; version < 12; version++) {
      // The one in the middle, which is asked for first, is broken under every hypervisor.
      const code = [...(version >= FIRST_BAD ? BROKEN : []), ...alive(`${version}: alive\n`)];
      writeFileSync(join(folder, 'kernel'), tinyKernel(version === 5 ? [0x0f, 0x0b] : code));
      git('add', '.');
      git('commit', '-q', '-m', `version ${version}`);
    }
    git('bisect', 'start', 'HEAD', 'HEAD~11');
    const output = git('bisect', 'run', program, 'matrix', 'kernel', ...options);
    assert.match(output, /is the first bad commit/);
    assert.equal(git('log', '-1', '--format=%s', 'refs/bisect/bad').trim(), `version ${FIRST_BAD}`);
    const log = git('bisect', 'log');
    assert.match(log, /^# skip: .* version 5$/m);
    assert.ok(log.match(/^git bisect (good|bad|skip) /gm)!.length <= 6, log);
  });

  test('what is wrong with the command, or the machine, ends the search: it is not the kernel', async () => {
    for (const words of [
      ['nonexistent', '--bisect', 'bare'],
      ['--bisect=bare', '--unknown'],
      ['--bisect', 'bare', '-H', 'bare'],
      ['--bisect', 'bare', '-H', 'kvm', '--html', '/nonexistent/x'],
    ]) {
      const { status, stderr } = await polyvisor(['matrix', ...words]);
      assert.equal(status, 128, stderr);
      assert.match(stderr, /^polyvisor: ./m);
    }
  });
});
