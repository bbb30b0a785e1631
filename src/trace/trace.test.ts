import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createSymbols } from '../boot/symbols.ts';
import type { Crossing } from '../paravirt/trace.ts';
import { chromeTrace } from './chrome.ts';
import { compareTraces } from './compare.ts';
import { describeRecord, functionOf, questionOf } from './describe.ts';
import { createTraceWriter, parseTrace, type Trace, TraceError } from './format.ts';

const HEADER = { hypervisor: 'good', kernel: 'Linux 6.1 (a "quoted" name)', clock: 'virtual' };
const TEXT = 0xffffffff81000000n;
const symbols = createSymbols([
  { address: TEXT, name: 'start_kernel' },
  { address: TEXT + 0x1000n, name: 'init_clock' },
  { address: TEXT + 0x2000n, name: 'idle' },
]);

type Event = [offset: bigint, crossing: Partial<Crossing>];

/** A trace of these events, a thousand instructions apart. */
function traceOf(events: readonly Event[]): { text: string; trace: Trace } {
  let text = '';
  const write = createTraceWriter(piece => void (text += piece), HEADER, symbols);
  for (const [index, [offset, crossing]] of events.entries())
    write(
      { time: index * 1500.5, operation: 'cpu.cpuid', address: TEXT + offset, arguments: {}, ...crossing },
      index * 1000,
    );
  return { text, trace: parseTrace(text) };
}

const cpuid = (offset: bigint, leaf: number): Event => [
  offset,
  { operation: 'cpu.cpuid', arguments: { leaf, subleaf: 0 } },
];
const write = (offset: bigint, name: string, value: bigint): Event => [
  offset,
  { operation: 'cpu.msr write', name, arguments: { index: 16, value } },
];
const call = (offset: bigint, name: string): Event => [
  offset,
  {
    operation: 'cpu.hypercall',
    name,
    arguments: { number: 3n, address: 0xdeadbeefn },
    result: -38n & 0xffffffffffffffffn,
  },
];

describe('the trace file', () => {
  const events = [cpuid(0x10n, 1), cpuid(0x10n, 2), write(0x1004n, 'MSR_CLOCK', 2n ** 64n - 1n), call(0x2000n, 'CALL')];
  const { text, trace } = traceOf(events);

  test('has what was written', () => {
    assert.deepEqual(trace.header, HEADER);
    assert.deepEqual(
      trace.records.map(({ kind, place, instructions, time, values, result }) => [
        kind.operation,
        kind.name,
        place.symbol,
        instructions,
        time,
        values,
        result,
      ]),
      [
        ['cpu.cpuid', undefined, 'start_kernel+0x10', 0, 0, [1n, 0n], undefined],
        ['cpu.cpuid', undefined, 'start_kernel+0x10', 1000, 1500, [2n, 0n], undefined],
        ['cpu.msr write', 'MSR_CLOCK', 'init_clock+0x4', 2000, 3001, [16n, 2n ** 64n - 1n], undefined],
        ['cpu.hypercall', 'CALL', 'idle', 3000, 4501, [3n, 0xdeadbeefn], 2n ** 64n - 38n],
      ],
    );
  });

  test('is small: what repeats is a short line', () => {
    const line = text.split('\n').find(row => row.startsWith('0 0 rs'));
    assert.ok(line && line.length < 20, text);
  });

  test('that was cut off ends before the cut; anything else is refused', () => {
    for (let length = text.length - 1; length > 120; length -= 3)
      assert.ok(parseTrace(text.slice(0, length)).records.length < trace.records.length + 1);
    for (const bad of [
      '',
      'hello\n',
      'polyvisor trace 2 {}\n',
      'polyvisor trace 1 {\n',
      'polyvisor trace 1 {}\n0 0 0 0\n',
    ])
      assert.throws(() => parseTrace(bad), TraceError);
    assert.throws(() => parseTrace(`${text}0 0 1 1 nonsense 0\n`), /no number "nonsense"/);
    assert.throws(() => parseTrace(`${text}0 0\n`), /no numbers/);
  });

  test('is printed in words', () => {
    const [first, , , last] = trace.records;
    assert.equal(questionOf(first!), 'cpu.cpuid leaf=1');
    assert.equal(questionOf(last!), 'cpu.hypercall CALL');
    assert.equal(functionOf(first!), 'start_kernel');
    assert.match(
      describeRecord(last!),
      /3,000 {2}idle +cpu\.hypercall CALL number=3 address=deadbeef = ffffffffffffffda$/,
    );
  });

  test('becomes what Perfetto reads', () => {
    const { traceEvents } = JSON.parse([...chromeTrace(trace)].join('')) as {
      traceEvents: { ph: string; name: string; ts?: number; args: Record<string, unknown> }[];
    };
    const events = traceEvents.filter(({ ph }) => ph === 'X');
    assert.equal(events.length, 4);
    assert.equal(events[3]!.name, 'CALL');
    assert.equal(events[3]!.ts, 4.501);
    assert.deepEqual(events[3]!.args.instructions, 3000);
  });
});

describe('two traces', () => {
  const base = [
    cpuid(0x10n, 1),
    cpuid(0x10n, 2),
    write(0x1004n, 'MSR_CLOCK', 5n),
    ...Array.from({ length: 9 }, () => call(0x2000n, 'IDLE')),
    cpuid(0x10n, 7),
  ];

  test('that are equal have no difference, wherever the kernel lies and whatever the values', () => {
    const other = base.map(
      ([offset, crossing]): Event => [offset + 2n, { ...crossing, arguments: { ...crossing.arguments, value: 9n } }],
    );
    const { counts, hunks } = compareTraces(traceOf(base).trace, traceOf(other).trace);
    assert.deepEqual(hunks, []);
    assert.ok(counts.every(({ before, after }) => before === after));
  });

  test('differ in what one asks that the other does not, and in who asks it', () => {
    const other = [...base.slice(0, 2), write(0x1004n, 'MSR_CLOCK_NEW', 5n), cpuid(0x1008n, 2), ...base.slice(3)];
    const { counts, hunks, same } = compareTraces(traceOf(base).trace, traceOf(other).trace);
    assert.deepEqual(
      counts.slice(0, 3).map(({ question, before, after }) => [question, before, after]),
      [
        ['cpu.msr write MSR_CLOCK', 1, 0],
        ['cpu.msr write MSR_CLOCK_NEW', 0, 1],
        ['cpu.cpuid leaf=2', 1, 2],
      ],
    );
    assert.deepEqual(counts[2]!.callers, [{ function: 'init_clock', before: 0, after: 1 }]);
    assert.equal(hunks.length, 1);
    assert.deepEqual(
      hunks[0]!.before.map(step => step.question),
      ['cpu.msr write MSR_CLOCK'],
    );
    assert.deepEqual(
      hunks[0]!.after.map(step => step.question),
      ['cpu.msr write MSR_CLOCK_NEW', 'cpu.cpuid leaf=2'],
    );
    assert.equal(hunks[0]!.context?.question, 'cpu.cpuid leaf=2');
    assert.equal(same, 4);
  });

  test('a loop that goes round more often is a count, and no other order', () => {
    const other = [...base.slice(0, 4), ...Array.from({ length: 50 }, () => call(0x2000n, 'IDLE')), ...base.slice(4)];
    const { counts, hunks } = compareTraces(traceOf(base).trace, traceOf(other).trace);
    assert.deepEqual(hunks, []);
    assert.deepEqual([counts[0]!.question, counts[0]!.before, counts[0]!.after], ['cpu.hypercall IDLE', 9, 59]);
  });

  test('of very different length are compared in reasonable time', () => {
    const long = Array.from({ length: 20_000 }, (_, index) => cpuid(0x10n, (index * 7919) % 50_000));
    const other = Array.from({ length: 20_000 }, (_, index) => write(0x10n, `MSR_${(index * 104_729) % 50_000}`, 0n));
    const { hunks } = compareTraces(traceOf(long).trace, traceOf(other).trace);
    assert.ok(hunks.length >= 1);
  });
});
