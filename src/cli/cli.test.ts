import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Exit } from '../exits.ts';
import { createConsoleWatch } from './console-watch.ts';
import { createEscapeFilter, type EscapeKey } from './escape-keys.ts';
import { isAbnormal, reasonOf, status, statusOf } from './exit-status.ts';
import { edits, nearest } from './nearest.ts';
import { createTextWatch } from './text-watch.ts';
import { oneOf, parseDisk, parseHypervisor, parseMemory, parseSave, parseSeconds } from './values.ts';

const bytes = (text: string) => new TextEncoder().encode(text);

test('sizes of memory', () => {
  assert.equal(parseMemory('512M'), 512 * 2 ** 20);
  assert.equal(parseMemory('512'), 512 * 2 ** 20);
  assert.equal(parseMemory('1g'), 2 ** 30);
  assert.equal(parseMemory('1.5GiB'), 1.5 * 2 ** 30);
  assert.equal(parseMemory('2049K'), 2048 * 1024);
  for (const text of ['', 'lots', '-1', '0', '512T', '4G', '1K', '5 5M', '0x10M', 'NaN'])
    assert.throws(() => parseMemory(text), /--memory/);
  assert.throws(
    () => parseMemory('4G'),
    /--memory 4G: at most 3G: .* one WebAssembly memory, whose addresses have 32 bits/,
  );
});

test('seconds', () => {
  assert.equal(parseSeconds('60'), 60);
  assert.equal(parseSeconds('0.5'), 0.5);
  for (const text of ['', ' ', '0', '-1', 'soon', '1e99', 'Infinity'])
    assert.throws(() => parseSeconds(text), /--timeout/);
});

test('disks', () => {
  const usual = { readOnly: false, share: false, bus: undefined, format: undefined, backingAnywhere: false };
  assert.deepEqual(parseDisk('a.img'), { ...usual, path: 'a.img' });
  assert.deepEqual(parseDisk('/x/a.img,ro,format=raw'), { ...usual, path: '/x/a.img', readOnly: true, format: 'raw' });
  assert.deepEqual(parseDisk('a,,b.img,ro'), { ...usual, path: 'a,b.img', readOnly: true });
  assert.equal(parseDisk('a.img,bus=virtio').bus, 'virtio');
  assert.deepEqual(parseDisk('a.img,share'), { ...usual, path: 'a.img', share: true });
  assert.deepEqual(parseDisk('a,format=qcow2,backing=any'), {
    ...usual,
    ...{ path: 'a', format: 'qcow2', backingAnywhere: true },
  });
  for (const text of ['', ',ro', 'a,format=vmdk', 'a,readonly', 'a,backing=any', 'a,format=qcow2,backing=x'])
    assert.throws(() => parseDisk(text), /--disk/);
});

test('the nearest name', () => {
  assert.equal(nearest('kmv', ['bare', 'kvm', 'xen-pv']), 'kvm');
  assert.equal(nearest('xen', ['bare', 'kvm', 'xen-pv']), 'xen-pv');
  assert.equal(nearest('KVM', ['bare', 'kvm']), 'kvm');
  assert.equal(nearest('virtualbox', ['bare', 'kvm']), undefined);
  assert.equal(edits('kmv', 'kvm'), 1);
  assert.equal(edits('', 'abc'), 3);
  assert.throws(() => parseHypervisor('kwm'), /unknown hypervisor "kwm": did you mean kvm\?/);
  assert.equal(parseHypervisor('bare').name, 'bare');
  assert.throws(() => oneOf('--clock', ['host', 'virtual'])('hots'), /--clock hots: did you mean host\?/);
});

test('Ctrl-A is ours, even in two pieces', () => {
  const keys: EscapeKey[] = [];
  const filter = createEscapeFilter(key => void keys.push(key));
  assert.deepEqual([...filter(bytes('ls\x01'))], [...bytes('ls')]);
  assert.deepEqual([...filter(bytes('x'))], []);
  assert.deepEqual([...filter(bytes('a\x01cb\x01\x01d\x01h\x01ze'))], [...bytes('ab\x01de')]);
  assert.deepEqual(keys, ['quit', 'monitor', 'help']);
});

test('the console keeps its last lines and drops escape sequences', () => {
  const watch = createConsoleWatch();
  for (let i = 0; i < 300; i++) watch.write(bytes(`line ${i}\r\n`));
  watch.write(bytes('\x1b[1;31mred\x1b[0m '));
  assert.equal(watch.tail.length, 201);
  assert.equal(watch.tail[0], 'line 100');
  assert.equal(watch.tail.at(-1), 'red ');
  watch.write(bytes('x'.repeat(10_000_000)));
  assert.ok(watch.tail.at(-1)!.length <= 4096);
});

test('a panic is seen, also when it comes in pieces', () => {
  let ends = 0;
  const watch = createConsoleWatch(() => ends++);
  watch.write(bytes('[    1.0] Kernel pan'));
  assert.equal(watch.panic, undefined);
  watch.write(bytes('ic - not syncing: VFS: Unable to mount root fs\r\n[    1.0] CPU: 0\n'));
  assert.equal(watch.panic, 'VFS: Unable to mount root fs');
  watch.write(bytes('[    1.1] ---[ end Kernel panic - not syncing: VFS: Unable to mount root fs ]---\n'));
  assert.equal(watch.panic, 'VFS: Unable to mount root fs');
  assert.equal(ends, 1);
});

test('a panic that is only text in a file is none: the guest goes on', () => {
  const watch = createConsoleWatch();
  const log = 'Kernel panic - not syncing: Oops\n---[ end Kernel panic - not syncing: Oops ]---\n';
  watch.write(bytes(log));
  watch.write(bytes('~ # '));
  assert.equal(watch.panic, undefined);
  watch.write(bytes('\n~ # ls\n'));
  assert.equal(watch.panic, undefined);
});

test('every ending has a status of its own, and says why when it is not 0', () => {
  const exits: Exit[] = [
    { kind: 'reset' },
    { kind: 'panic', reason: 'r' },
    { kind: 'killed', reason: 'r' },
    { kind: 'triple-fault', reason: 'r' },
    { kind: 'dead-halt' },
    { kind: 'timeout' },
  ];
  const statuses = exits.map(exit => statusOf({ exit, command: false }));
  assert.equal(new Set(statuses).size, exits.length);
  assert.ok(!statuses.includes(0));
  for (const exit of exits) assert.ok(reasonOf({ exit, command: false }));
  assert.equal(new Set(Object.values(status)).size, Object.values(status).length);
  assert.equal(statusOf({ exit: { kind: 'power-off' }, command: false }), 0);
  assert.equal(statusOf({ exit: { kind: 'power-off', status: 7 }, command: false }), 7);
  assert.equal(statusOf({ exit: { kind: 'stopped' }, command: false }), 0);
});

test("with --exec the status is the command's, and a guest that ends early has none", () => {
  assert.equal(statusOf({ exit: { kind: 'power-off' }, command: true, commandStatus: 3 }), 3);
  assert.equal(statusOf({ exit: { kind: 'power-off' }, command: true }), status.noStatus);
  assert.equal(statusOf({ exit: { kind: 'panic', reason: 'r' }, command: true }), status.panic);
  assert.equal(statusOf({ exit: { kind: 'stopped' }, command: true, signal: 'SIGTERM' }), 143);
  assert.ok(isAbnormal({ exit: { kind: 'panic', reason: 'r' }, command: true }));
  assert.ok(!isAbnormal({ exit: { kind: 'power-off' }, command: true }));
});

test('--save says where, and when', () => {
  assert.deepEqual(parseSave('a.snap'), { file: 'a.snap', when: 'asked' });
  assert.deepEqual(parseSave('a.snap@1500'), { file: 'a.snap', when: { instructions: 1500 } });
  assert.deepEqual(parseSave('a@b@1.5G'), { file: 'a@b', when: { instructions: 1.5e9 } });
  assert.deepEqual(parseSave('a@login: '), { file: 'a', when: { text: 'login: ' } });
  for (const text of ['@5', 'a@', '']) assert.throws(() => parseSave(text), /--save/);
});

test('a text is noticed once, however it comes in pieces', () => {
  const bytes = new TextEncoder().encode('a lögin: b lögin: ');
  for (let size = 1; size < bytes.length; size++) {
    const watch = createTextWatch('lögin: ');
    let found = 0;
    for (let at = 0; at < bytes.length; at += size) if (watch.feed(bytes.subarray(at, at + size))) found++;
    assert.deepEqual([found, watch.seen], [1, true]);
  }
  assert.equal(createTextWatch('x').feed(bytes), false);
});
