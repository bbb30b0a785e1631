import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createSymbols } from '../boot/symbols.ts';
import type { Crossing } from '../paravirt/trace.ts';
import { chromeTrace } from './chrome.ts';
import { compareTraces, type OrderDifference } from './compare.ts';
import { describeRecord, functionOf, questionOf } from './describe.ts';
import { describeComparison, isEqual } from './diff-text.ts';
import { createTraceWriter, parseTrace, type Trace, TraceError } from './format.ts';
import { compareSteps } from './steps.ts';
import { isWrapper } from './wrappers.ts';

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
      { time: index * 1500.5, operation: 'cpu.cpuid', address: TEXT + offset, arguments: {}, callers: [], ...crossing },
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

  test('has whole nanoseconds, as a host’s clock has not', () => {
    const { trace } = traceOf([[0n, { operation: 'time.resumed', arguments: { stolen: 75000.25 } }]]);
    assert.deepEqual(trace.records[0]!.values, [75000n]);
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

  const compare = (before: readonly Event[], after: readonly Event[]) =>
    compareTraces(traceOf(before).trace, traceOf(after).trace);
  const steps = (before: readonly Event[], after: readonly Event[]) =>
    compareSteps(traceOf(before).trace, traceOf(after).trace);

  test('that are equal have no difference, wherever the kernel lies and whatever the values', () => {
    const other = base.map(
      ([offset, crossing]): Event => [offset + 2n, { ...crossing, arguments: { ...crossing.arguments, value: 9n } }],
    );
    assert.ok(isEqual(compare(base, other)));
    assert.deepEqual(steps(base, other).hunks, []);
  });

  test('differ in what one asks that the other does not, and in who asks it', () => {
    const other = [...base.slice(0, 2), write(0x1004n, 'MSR_CLOCK_NEW', 5n), cpuid(0x1008n, 2), ...base.slice(3)];
    const { counts, order, inOrder } = compare(base, other);
    assert.deepEqual(
      counts.slice(0, 4).map(({ question, kind, before, after }) => [question, kind, before, after]),
      [
        ['cpu.msr write MSR_CLOCK', 'hypervisor', 1, 0],
        ['cpu.msr write MSR_CLOCK_NEW', 'hypervisor', 0, 1],
        ['cpu.hypercall IDLE', 'hypervisor', 9, 9],
        ['cpu.cpuid leaf=2', 'processor', 1, 2],
      ],
    );
    assert.deepEqual(counts[3]!.callers, [{ function: 'init_clock', before: 0, after: 1 }]);
    assert.equal(order.length, 1);
    assert.deepEqual(
      [order[0]!.context, ...order[0]!.before, ...order[0]!.after].map(first => first?.question),
      ['cpu.cpuid leaf=2', 'cpu.msr write MSR_CLOCK', 'cpu.msr write MSR_CLOCK_NEW'],
    );
    assert.equal(inOrder, 4);

    const { hunks, same } = steps(base, other);
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

  test('a question that is asked earlier has moved, and is neither gone nor new', () => {
    const { order } = compare(base, [base[0]!, base.at(-1)!, ...base.slice(1, -1)]);
    assert.equal(order.length, 1);
    const [{ before, after, moved, context }] = order as [OrderDifference];
    assert.deepEqual([before, after, context?.question], [[], [], 'cpu.cpuid leaf=1']);
    assert.deepEqual(
      moved.map(({ first, since }) => [first.question, since?.question]),
      [['cpu.cpuid leaf=7', 'cpu.hypercall IDLE']],
    );
  });

  test('an answer that is an error in one only is a difference', () => {
    const other = base.map(
      ([offset, crossing]): Event => [offset, { ...crossing, ...(crossing.name === 'IDLE' && { result: 0n }) }],
    );
    const comparison = compare(base, other);
    assert.deepEqual(comparison.counts[0]!.errors, [{ result: -38, before: 9, after: 0 }]);
    assert.ok(!isEqual(comparison));
    assert.match(describeComparison(comparison, false).join('\n'), /^ +9 +0 +answered with the error -38$/m);
  });

  test('a loop that goes round more often is a count, and no other order', () => {
    const other = [...base.slice(0, 4), ...Array.from({ length: 50 }, () => call(0x2000n, 'IDLE')), ...base.slice(4)];
    assert.deepEqual(steps(base, other).hunks, []);
    const { counts, order } = compare(base, other);
    assert.deepEqual(order, []);
    assert.deepEqual([counts[0]!.question, counts[0]!.before, counts[0]!.after], ['cpu.hypercall IDLE', 9, 59]);
  });

  test('interrupts and programs have no part in the order, and programs are told from the kernel and its entry', () => {
    const program: Event = [-TEXT + 0x401000n, { operation: 'cpu.cpuid', arguments: { leaf: 5, subleaf: 0 } }];
    const timer: Event = [0x2000n, { operation: 'irq.delivered', arguments: { vector: 0xec } }];
    const entry: Event = [-TEXT + 0x1000000n, { operation: 'cpu.cpuid', arguments: { leaf: 0, subleaf: 0 } }];
    const comparison = compare([entry, ...base], [entry, ...base.slice(0, 3), timer, program, ...base.slice(3)]);
    assert.deepEqual(comparison.order, []);
    assert.deepEqual(
      comparison.counts.filter(({ before, after }) => before !== after).map(({ question, kind }) => [question, kind]),
      [
        ['irq.delivered vector=ec', 'event'],
        ['cpu.cpuid leaf=5', 'program'],
      ],
    );
    assert.match(describeComparison(comparison, false).join('\n'), /faults: 0 and 1; --all lists them$/m);
    assert.match(describeComparison(comparison, true).join('\n'), /^ +0 +1 {2}cpu\.cpuid leaf=5 +a program \+1$/m);
  });

  test('the sum of it is said first', () => {
    const other = [...base.slice(0, 2), write(0x1004n, 'MSR_CLOCK_NEW', 5n), cpuid(0x1008n, 2), ...base.slice(3)];
    const [, first] = describeComparison(compare(base, other), false);
    assert.equal(first, 'The kernel: 1 question new, 1 gone, of 4 in both 1 not as often.');
  });

  test('of very different length are compared in reasonable time', () => {
    const long = Array.from({ length: 20_000 }, (_, index) => cpuid(0x10n, (index * 7919) % 50_000));
    const other = Array.from({ length: 20_000 }, (_, index) => write(0x10n, `MSR_${(index * 104_729) % 50_000}`, 0n));
    assert.ok(steps(long, other).hunks.length >= 1);
    assert.ok(compare(long, other).order.length >= 1);
  });
});

describe('a function that asks for others', () => {
  test('is named with its caller, and the caller is who asked', () => {
    const known = createSymbols([
      { address: TEXT, name: 'kvm_hypercall1.isra.0' },
      { address: TEXT + 0x1000n, name: 'native_write_msr' },
      { address: TEXT + 0x2000n, name: 'init_clock' },
      { address: TEXT + 0x3000n, name: 'start_kernel' },
    ]);
    let text = '';
    const write = createTraceWriter(piece => void (text += piece), HEADER, known);
    const crossing = { operation: 'cpu.cpuid', arguments: { leaf: 1 } };
    const callers = [0x1234n, TEXT + 0x1008n, TEXT + 0x2010n, TEXT + 0x3010n];
    write({ ...crossing, time: 0, address: TEXT + 0x1004n, callers }, 0);
    write({ ...crossing, time: 0, address: TEXT + 0x1004n, callers: callers.slice(3) }, 1);
    write({ ...crossing, time: 0, address: TEXT + 0x2004n, callers: callers.slice(3) }, 2);
    const { records } = parseTrace(text);
    assert.deepEqual(records.map(functionOf), ['init_clock', 'start_kernel', 'init_clock']);
    assert.match(describeRecord(records[0]!), /native_write_msr\+0x4 < init_clock\+0x10 /);
    assert.doesNotMatch(describeRecord(records[2]!), /</);
  });

  test('is known by its name, whatever copy of it the compiler made', () => {
    for (const name of ['xen_hypercall_pv', 'hypercall_page', 'xen_cpuid', 'native_write_msr_safe', 'hv_do_hypercall'])
      assert.ok(isWrapper(name) && isWrapper(`${name}.constprop.0`), name);
    for (const name of ['start_kernel', 'cpu_detect', 'kvm_guest_init', undefined]) assert.ok(!isWrapper(name), name);
  });
});
