/** Debian's kernel on the host's clock, with a person who types and a server on the network: what was recorded is done again. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import { nodeCompression } from '../src/host/node/compression.ts';
import { decodeRecording, encodeFront, encodePiece } from '../src/replay/recording.ts';
import { polyvisor } from './command.ts';

const NETWORK = ['--net', 'user,host=loopback'];

test('a session with network traffic on the host’s clock is replayed three times, to the byte and the instruction', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'polyvisor-'));
  const [snapshot, recording, json] = ['snapshot', 'recording', 'json'].map(name => join(folder, name)) as [
    string,
    string,
    string,
  ];
  let requests = 0;
  const server = createServer((_, response) => response.end(`answer ${++requests} at ${Date.now()}\n`.repeat(200)));
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  try {
    const booted = await polyvisor(['run', '-H', 'kvm', ...NETWORK, '--save', `${snapshot}@NETWORK UP`], {
      dialogue: [
        { after: '~ # ', type: 'until ip route | grep -q default; do sleep 0.2; done; sleep 1; echo NETWORK U""P\n' },
        { after: '~ # ', type: 'poweroff -f\n' },
      ],
      limit: 600,
    });
    assert.equal(booted.status, 0, booted.stderr);
    const recorded = await polyvisor(
      ['run', '--restore', snapshot, ...NETWORK, '--record', recording, '--json', json, '--timeout', '500'],
      {
        dialogue: [
          { after: '~ # ', type: `wget -qO- http://10.0.2.2:${port}/ | tail -n 2; cat /proc/sys/kernel/random/uuid\n` },
          { after: '~ # ', type: `wget -qO- http://10.0.2.2:${port}/ | md5sum; cat /proc/uptime\n` },
          { after: '~ # ', type: 'poweroff -f\n' },
        ],
        limit: 600,
      },
    );
    assert.equal(recorded.status, 0, recorded.stderr);
    assert.match(recorded.stdout, /answer 1 at \d+/);
    const { instructions } = JSON.parse(readFileSync(json, 'utf8'));
    server.close();
    for (const engine of ['jit', 'jit', 'interpreter']) {
      const replayed = await polyvisor(['run', '--replay', recording, '--engine', engine, '--json', json], {
        limit: 600,
      });
      assert.equal(replayed.status, 0, replayed.stderr);
      assert.equal(replayed.stdout, recorded.stdout, engine);
      assert.equal(JSON.parse(readFileSync(json, 'utf8')).instructions, instructions, engine);
    }
    assert.equal(requests, 2, 'a replay asks nobody');

    const content = readFileSync(recording);
    content[content.length - 2000]! ^= 1;
    writeFileSync(recording, content);
    const damaged = await polyvisor(['run', '--replay', recording]);
    assert.equal(damaged.status, 65);
    assert.match(damaged.stderr, /^polyvisor: cannot replay .*: it is damaged: /);
    truncateSync(recording, 100);
    assert.match((await polyvisor(['run', '--replay', recording])).stderr, /: it is cut short\n$/);
    const given = await polyvisor(['run', '--replay', recording, '--memory', '1G']);
    assert.deepEqual([given.status, /so --memory cannot be given/.test(given.stderr)], [64, true]);
  } finally {
    server.close();
    rmSync(folder, { recursive: true });
  }
});

test('recordings that are cut short or tell nonsense, and a disk that is full, end with a line', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'polyvisor-'));
  const at = (name: string) => join(folder, name);
  try {
    writeFileSync(at('kernel'), tinyKernel([0x0f, 0x31, 0x40, 0xf4])); // rdtsc; inc eax; hlt
    const record = (file: string) => polyvisor(['run', '-k', at('kernel'), '--net', 'none', '--record', file]);
    const full = await record('/dev/full');
    assert.deepEqual(
      [full.status, full.stderr],
      [74, 'polyvisor: --record /dev/full: the disk is full: free some space and try again\n'],
    );
    assert.equal((await record(at('good'))).status, 123);
    const good = readFileSync(at('good'));
    const front = 20 + good.readUInt32LE(12) + good.readUInt32LE(16);
    writeFileSync(at('empty'), good.subarray(0, front));
    const empty = await polyvisor(['run', '--replay', at('empty')]);
    assert.equal(empty.status, 65);
    assert.match(
      empty.stderr,
      /^polyvisor: cannot replay .*empty: .*after instruction 0: the recording has nothing more, the machine asks for a .*\n$/,
    );
    // As if the only slice, of three instructions, had been one of two.
    const { journal, header, snapshot } = await decodeRecording(good, nodeCompression);
    const changed = journal.slice();
    const place = changed.findIndex(
      (byte, index) => byte === 3 && changed[index + 1] === 0 && changed[index + 2] === 3,
    );
    assert.ok(place > 0);
    changed[place + 2] = 2;
    const [other, piece] = [
      await encodeFront({ ...header, version: '0.0.1' }, snapshot, nodeCompression),
      await encodePiece(changed, nodeCompression),
    ];
    writeFileSync(at('other'), Buffer.concat([other, piece]));
    const differs = await polyvisor(['run', '--replay', at('other')]);
    assert.equal(differs.status, 122);
    assert.match(
      differs.stderr,
      /the replay differs from the recording after instruction 0: the recording is at …[0-9a-f]+ at instruction 2 of processor 0, the machine at 0x[0-9a-f]+ \(recorded by version 0\.0\.1; this is /,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('two recordings of one kernel are compared: alike, or the instruction at which they differ', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'polyvisor-'));
  const at = (name: string) => join(folder, name);
  try {
    // mov ebx, 7; mov eax, 40000000h; cpuid; hlt
    const code = [0xbb, 7, 0, 0, 0, 0xb8, 0, 0, 0, 0x40, 0x0f, 0xa2, 0xf4];
    writeFileSync(at('kernel'), tinyKernel(code));
    for (const name of ['bare', 'kvm']) {
      const words = ['--net', 'none', '--clock', 'virtual', '--record', at(name)];
      assert.equal((await polyvisor(['run', '-H', name, '-k', at('kernel'), ...words])).status, 123);
    }
    const compare = (...words: string[]) => polyvisor(['replay', '--compare', ...words]);
    const differ = await compare(at('bare'), at('kvm'));
    assert.match(
      differ.stdout,
      /^differ after instruction 2: R[A-D]X is 0x[0-9a-f]+ in bare, 0x[0-9a-f]+ in kvm.*\nboth were at 0x[0-9a-f]+ before\n$/,
    );
    assert.deepEqual([differ.status, differ.stderr], [1, '']);
    const alike = await compare(at('kvm'), at('kvm'));
    assert.deepEqual([alike.status, alike.stdout], [0, 'alike up to instruction 4: in both it ends (dead-halt)\n']);
    const none = await compare(at('kvm'), at('kernel'));
    assert.deepEqual([none.status, /cannot replay .*kernel: it is no recording/.test(none.stderr)], [65, true]);
    assert.equal((await compare(at('kvm'))).status, 64);
    assert.match((await polyvisor(['replay', at('kvm')])).stderr, /"polyvisor run --replay /);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
