/** `polyvisor bisect` over rows of kernels with a planted turn. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, test } from 'node:test';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import { kernelPackages } from '../src/host/node/kernel-packages.ts';
import { polyvisor } from './command.ts';

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-row-'));
after(() => rmSync(folder, { recursive: true }));

/** Writes `text` to the first serial port, and halts for ever. */
function kernel(name: string, text: string): string {
  const letters = [...text].flatMap(letter => [0xb0, letter.charCodeAt(0), 0xee]);
  const path = join(folder, name);
  writeFileSync(path, tinyKernel([0x66, 0xba, 0xf8, 0x03, ...letters, 0xfa, 0xf4]));
  return path;
}

const initrd = join(folder, 'initrd');
writeFileSync(initrd, '');
const WORDS = ['--initrd', initrd, '--until', 'good', '--memory', '16M'];

test('the planted first bad kernel is found, in three boots of nine', { timeout: 200_000 }, async () => {
  const row = Array.from({ length: 9 }, (_, index) => kernel(`kernel-${index}`, index < 6 ? 'good\n' : 'none\n'));
  const { status, stdout, stderr } = await polyvisor(['bisect', ...row, '-H', 'kvm,vmware', ...WORDS]);
  assert.equal(status, 0, stderr);
  for (const name of ['kvm', 'vmware']) {
    assert.match(
      stdout,
      new RegExp(`^${name}: ${row[6]} is the first bad one \\(3 kernels asked\\)\\n {2}hung: .*\\n.*${row[5]}$`, 'm'),
    );
    assert.equal(stderr.match(new RegExp(`^polyvisor: ${name}: `, 'gm'))?.length, 3);
  }
});

test('what cannot be booted at all is passed over', { timeout: 200_000 }, async () => {
  const broken = join(folder, 'broken');
  writeFileSync(broken, 'no kernel');
  const row = [kernel('first', 'good\n'), broken, kernel('last', 'none\n')];
  const { status, stdout } = await polyvisor(['bisect', ...row, '-H', 'bare', ...WORDS]);
  assert.match(
    stdout,
    /^bare: the first bad one is one of \S+broken, \S+last \(1 kernel asked\); the others cannot be judged$/m,
  );
  assert.equal(status, 1);
});

test('bad words', async () => {
  const one = await polyvisor(['bisect', initrd, '-H', 'bare', ...WORDS]);
  assert.match(one.stderr, /name two packages of Debian, A\.\.B, or two kernels or more/);
  assert.equal(one.status, 64);
  const none = await polyvisor(['bisect', 'some..thing', '-H', 'bare', ...WORDS]);
  assert.match(none.stderr, /some is no package of a kernel/);
  assert.equal(none.status, 69);
});

test("a range of packages is put in order by apt's versions", async t => {
  const versions: Record<string, string> = {
    'linux-image-6.1.0-9-cloud-amd64': '6.1.27-1',
    'linux-image-6.1.0-10-cloud-amd64': '6.1.37-1',
    'linux-image-6.1.0-11-cloud-amd64': '6.1.38-4',
    'linux-image-6.1.0-11-amd64': '6.1.38-4',
    'linux-image-6.1.0-11-cloud-amd64-unsigned': '6.1.38-4',
    'linux-image-6.12.3-cloud-amd64': '6.12.3-1',
    'linux-image-6.1.0-12-cloud-amd64': '6.1.52-1',
    'linux-image-cloud-amd64': '6.12.3-1',
  };
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  const cases = Object.entries(versions).map(([name, version]) => `${name}) echo "Version: ${version}" ;;`);
  const program = (name: string, text: string) => {
    writeFileSync(join(bin, name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(bin, name), 0o755);
  };
  program('apt-get', 'exit 0');
  program(
    'apt-cache',
    `for word; do last=$word; done
     case "$*" in
       *pkgnames*) printf '%s\\n' ${Object.keys(versions).reverse().join(' ')} ;;
       *) case $last in ${cases.join(' ')} *) exit 100 ;; esac ;;
     esac`,
  );
  const { PATH } = process.env;
  process.env.PATH = `${bin}${delimiter}${PATH}`;
  t.after(() => void (process.env.PATH = PATH));
  const range = (first: string, last: string) =>
    kernelPackages(`linux-image-${first}`, `linux-image-${last}`, () => {}, join(folder, 'cache'));
  assert.deepEqual(
    (await range('6.1.0-9-cloud-amd64', '6.12.3-cloud-amd64')).map(name => name.slice('linux-image-'.length)),
    [
      '6.1.0-9-cloud-amd64',
      '6.1.0-10-cloud-amd64',
      '6.1.0-11-cloud-amd64',
      '6.1.0-12-cloud-amd64',
      '6.12.3-cloud-amd64',
    ],
  );
  await assert.rejects(range('6.1.0-12-cloud-amd64', '6.1.0-9-cloud-amd64'), /is not older than/);
  await assert.rejects(range('6.1.0-9-cloud-amd64', '6.1.0-11-amd64'), /is no kernel of the flavour cloud-amd64/);
  await assert.rejects(
    range('6.1.0-9-cloud-amd64', '6.1.0-99-cloud-amd64'),
    /have no linux-image-6\.1\.0-99-cloud-amd64/,
  );
});
