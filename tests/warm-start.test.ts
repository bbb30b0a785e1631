import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { resumeMessage, resumeProgram } from '../src/boot/guest/resume-program.ts';
import { cacheFolder } from '../src/host/node/cache.ts';
import { ensureGuest } from '../src/host/node/guest.ts';
import { polyvisor } from './command.ts';

// The kept guests of this test alone, beside the guests of everybody.
const folder = mkdtempSync(join(tmpdir(), 'polyvisor-'));
const json = join(folder, 'summary.json');
before(async () => {
  await ensureGuest();
  for (const room of ['guests', 'packages', 'engine']) symlinkSync(join(cacheFolder(), room), join(folder, room));
});
after(() => rmSync(folder, { recursive: true }));

async function run(command: string, ...words: string[]) {
  const result = await polyvisor(['run', '--exec', command, '--json', json, ...words], {
    env: { POLYVISOR_CACHE: folder },
    limit: 600,
  });
  return { ...result, summary: JSON.parse(readFileSync(json, 'utf8')) };
}

/** The files with kept guests. */
function kept(): string[] {
  const warm = join(folder, 'warm');
  return readdirSync(warm, { recursive: true, encoding: 'utf8' })
    .map(name => join(warm, name))
    .filter(file => /[0-9a-f]{32}$/.test(file) && readdirSync(join(file, '..')).length > 0)
    .filter(file => !readdirSync(warm).includes(file.slice(warm.length + 1)));
}

const BYTES = `printf 'a\\001\\036\\r\\n\\377'; echo error >&2; exit 41`;

test('the second --exec goes on from the first one that booted: output, status, time and randomness are its own', async () => {
  const first = await run(BYTES);
  assert.deepEqual([first.status, first.summary.warm], [41, false], first.stderr);
  assert.equal(kept().length, 1);
  const second = await run(BYTES);
  assert.deepEqual([second.status, second.summary.warm], [41, true], second.stderr);
  assert.deepEqual([second.stdout, second.stderr], [first.stdout, first.stderr]);
  assert.equal(second.summary.exit.kind, 'power-off');

  // Two at once, of different lengths. Linux's own clock and random numbers answer.
  const ask = 'date +%s; cat /proc/sys/kernel/random/uuid; readlink /proc/$$/fd/0; tty; cat $0';
  const long = `${ask} # ${'x'.repeat(20_000)}`;
  const before = Math.floor(Date.now() / 1000);
  const [short, other] = await Promise.all([run(ask), run(long)]);
  for (const { status, stderr } of [short, other]) assert.equal(status, 0, stderr);
  const [date, uuid, input, terminal, text] = short.stdout.split('\n');
  assert.ok(Number(date) >= before && Number(date) <= Math.ceil(Date.now() / 1000), `${date}, after ${before}`);
  assert.deepEqual([input, terminal, text], ['/dev/null', 'not a tty', ask]);
  assert.notEqual(uuid, other.stdout.split('\n')[1]);
  assert.ok(other.stdout.endsWith(`${long}\n`));
});

test('a guest that reads late what time it is adds what has passed', async () => {
  // In a guest, for the program sets the clock. Its counter was 0 at that time, as if the guest had been kept when it was switched on.
  const time = 2_000_000_000n * 1_000_000_000n;
  const message = resumeMessage({
    time,
    tsc: 0n,
    seed: new Uint8Array(32),
    mark: '0123456789abcdef',
    command: 'echo it',
  });
  const file = (name: string, bytes: Uint8Array) =>
    `echo ${Buffer.from(bytes).toString('base64')} | base64 -d >/tmp/${name}; chmod +x /tmp/${name}`;
  const starts = '#!/bin/sh\nexec /tmp/program 3<&0 4>/polyvisor/command 5>/polyvisor/mark 6</dev/urandom';
  const { stdout, stderr } = await polyvisor([
    ...['run', '-H', 'kvm', '--exec'],
    [
      file('program', resumeProgram()),
      file('message', message),
      file('starts', new TextEncoder().encode(starts)),
      // It ends as a shell for its command, which stands where this one does.
      'mount -t tmpfs none /polyvisor; ifconfig lo up; (nc -l -p 99 -e /tmp/starts & ); sleep 1',
      'said=$(nc 127.0.0.1 99 </tmp/message | tail -n 1)',
      'echo $(($(date +%s) - 2000000000)) $(cut -d. -f1 /proc/uptime) $(cat /polyvisor/mark) $said; umount /polyvisor',
    ].join('\n'),
  ]);
  const [, date, uptime, ...rest] = /^(-?\d+) (\d+) (.*)$/m.exec(stdout) ?? assert.fail(stdout + stderr);
  // Linux's clocks begin a moment after the counter.
  assert.ok(Number(date) >= Number(uptime) && Number(date) < Number(uptime) + 10, `${date}, up for ${uptime} s`);
  assert.deepEqual(rest, ['0123456789abcdef it']);
});

test('a kept guest that is damaged is booted again, and mended', async () => {
  const [file] = kept();
  const content = readFileSync(file!);
  content[content.length >> 1]! ^= 1;
  writeFileSync(file!, content);
  const mended = await run(BYTES);
  assert.deepEqual([mended.status, mended.summary.warm], [41, false], mended.stderr);
  assert.equal((await run(BYTES)).summary.warm, true);
  truncateSync(file!, 1000);
  assert.equal((await run('true', '--timeout', '0.1')).summary.warm, false);
  assert.equal((await run('true', '--cold', '--timeout', '0.1')).summary.warm, false);
});

// Xen's console takes a byte of 15 for a SysRq: the length of this command is one.
test("the same on Xen's console", async () => {
  const [command, ...words] = ['exit 41 # abcd', '--hypervisor', 'xen-pv'] as const;
  assert.equal(command.length + 1, 15);
  const ends = [];
  for (let round = 0; round < 4; round++) {
    const { status, summary } = await run(command, ...words);
    ends.push([status, summary.warm]);
  }
  assert.deepEqual(ends, [[41, false], ...Array(3).fill([41, true])]);
});
