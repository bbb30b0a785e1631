/** A slice of every fuzzer, the same in every run; and the fuzzers themselves: they would notice, and they make small what they find. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { bare, bareTable } from '../../src/hypervisors/bare/index.ts';
import { derive } from '../../src/paravirt/derive.ts';
import { smallerBytes } from './bytes.ts';
import { devices, devicesOf } from './devices.ts';
import { caseFuzzer, type Fuzzer } from './fuzzer.ts';
import { fuzzers } from './list.ts';
import { htmlStructure, xmlStructure } from './markup.ts';

/** Inputs of each; what has a test file of its own has none here. */
const SLICES: ReadonlyMap<string, number> = new Map([
  ...devices.map(({ name }): [string, number] => [name, 10]),
  ['images', 2000],
  ['network-rings', 200],
  ['nine-p', 500],
  ['pci-rings', 300],
  ['plugins', 2000],
  ['processor', 300],
  ['qcow2', 200],
  ['registers', 100],
  ['reports', 100],
  ['snapshots', 150],
  ['virtio-devices', 300],
  ['virtqueues', 40],
  ['xen-rings', 200],
  ['vmbus', 250],
  ['xen-pvh-hypercalls', 25],
  ['xen-pv-hypercalls', 25],
]);
/** tests/xen-pv-fuzz.test.ts */
const ELSEWHERE = ['xen-pv'];

describe('a slice of every fuzzer', () => {
  for (const fuzzer of fuzzers.filter(({ name }) => !ELSEWHERE.includes(name)))
    test(fuzzer.name, { timeout: 600_000, skip: fuzzer.missing?.() ?? false }, async () => {
      const count = SLICES.get(fuzzer.name);
      assert.ok(count !== undefined, 'it has a slice');
      const outcome = await fuzzer.run({ seed: 1, count, words: [] });
      assert.equal(outcome.finding, undefined);
      assert.equal(outcome.count, count);
    });
});

const limits = (seed: number, count: number) => ({ seed, count, words: [] });

describe('fuzzers', () => {
  /** Finds texts with both letters; everything else that is in them does not matter. */
  const letters = (judge: (text: string) => string | undefined): Fuzzer =>
    caseFuzzer<Uint8Array>({
      name: 'letters',
      description: '',
      make: random => Uint8Array.from({ length: 30 }, () => 97 + random.below(8)),
      judge: bytes => judge(Buffer.from(bytes).toString()),
      smaller: smallerBytes,
      show: bytes => Buffer.from(bytes).toString(),
    });
  const both = letters(text => (/a.*b/.test(text) ? 'both' : undefined));

  test('what is found is made as small as it gets, and is found again by its seed', async () => {
    const { finding } = await both.run(limits(5, 1000));
    assert.deepEqual([finding?.input, finding?.reason], ['ab', 'both']);
    assert.deepEqual((await both.run(limits(finding!.seed, 1))).finding, finding);
  });

  test('what throws is found, and seconds end a search', async () => {
    const throwing = letters(text => {
      if (text.includes('c')) throw new TypeError('oh');
      return undefined;
    });
    const { finding } = await throwing.run(limits(1, 1000));
    assert.equal(finding?.input, 'c');
    assert.match(finding.reason, /^throws TypeError: oh/);
    const { count, next } = await letters(() => undefined).run({ seed: 7, seconds: 0.2, words: [] });
    assert.ok(count > 0 && next === 7 + count);
  });

  test('a register that answers too much, and one that throws, are found among the devices', async () => {
    const title = 'a hypervisor with a broken register';
    for (const [read, reason] of [
      [() => 1n << 64n, /^rdmsr 0x12: 18446744073709551616$/],
      [() => assert.fail('oh'), /^throws AssertionError.*oh/],
    ] as const) {
      const msrs = { 0x12: { name: 'BROKEN', read } };
      const make = () => derive(bareTable, { name: 'broken', title, cpu: { msrs } });
      const { finding } = await devicesOf({ ...bare, make }).run(limits(1, 5));
      assert.match(finding?.reason ?? '', reason);
      assert.equal(finding!.input.split('\n').length, 1);
    }
  });

  test('their readers of markup are strict', () => {
    const xml = (body: string) => xmlStructure(`<?xml version="1.0" encoding="UTF-8"?>\n${body}`);
    assert.deepEqual(xml('<a x="1"><b/>text &amp; more</a>\n'), ['a x', 'b /', '/a ']);
    for (const body of [
      '<a>',
      '<a></b>',
      '<a>&</a>',
      '<a x="1" x="2"/>',
      '<a x="<"/>',
      '<a>\x01</a>',
      '<a>]]></a>',
      '<a><!-- --></a>',
      'text',
    ])
      assert.throws(() => xml(body), body);
    assert.deepEqual(htmlStructure('<p class="x">a &lt; b</p>'), ['p class=x', '/p ']);
    for (const page of ['<p onclick=x>', 'a < b', '<script src=x>', '&#64;', '<!-- -->'])
      assert.throws(() => htmlStructure(page), page);
  });
});
