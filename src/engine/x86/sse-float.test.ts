/** SSE's software helpers: MXCSR's flags and modes, faults, and where SSE differs from the x87. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Cpu } from './cpu.ts';
import { sseFloatHelpers } from './sse-float.ts';
import { STATE, state } from './state.ts';

const bytes = new Uint8Array(STATE + 0x1000);
const view = new DataView(bytes.buffer);
let raised = 0;
const cpu = {
  view,
  bytes,
  raise(vector: number): never {
    raised = vector;
    throw new Error('raised');
  },
} as unknown as Cpu;

const ANSWER = STATE + state.VECTOR + 48;
const DEFAULT = 0x1f80;
const [IE, DE, ZE, OE, UE, PE] = [1, 2, 4, 8, 16, 32];

type Lanes = (number | { bits: number })[];

/** Runs a helper on vectors of four singles (or raw words); returns the answer's words and the flags of MXCSR. */
function singles(name: string, mxcsr: number, first: Lanes, second: Lanes, immediate?: number) {
  const vectors = [first, second];
  vectors.forEach((vector, i) => {
    for (let lane = 0; lane < 4; lane++) {
      const value = vector[lane] ?? 0;
      const at = STATE + state.VECTOR + 16 * i + 4 * lane;
      if (typeof value === 'number') view.setFloat32(at, value, true);
      else view.setUint32(at, value.bits, true);
    }
  });
  return run(name, mxcsr, immediate);
}

function doubles(name: string, mxcsr: number, ...vectors: number[][]) {
  vectors.forEach((vector, i) => {
    vector.forEach((value, lane) => {
      view.setFloat64(STATE + state.VECTOR + 16 * i + 8 * lane, value, true);
    });
  });
  return run(name, mxcsr);
}

function run(name: string, mxcsr: number, immediate?: number) {
  if (immediate !== undefined) view.setUint32(STATE + state.ARGUMENT, immediate, true);
  raised = 0;
  view.setUint32(STATE + state.CR4, 1 << 10, true);
  view.setUint32(STATE + state.MXCSR, mxcsr, true);
  const helper = sseFloatHelpers[name];
  assert.ok(helper, `no helper ${name}`);
  try {
    helper(cpu);
  } catch {
    assert.notEqual(raised, 0);
  }
  return {
    raised,
    flags: view.getUint32(STATE + state.MXCSR, true) & 0x3f,
    words: [0, 4, 8, 12].map(at => view.getUint32(ANSWER + at, true)),
    singles: [0, 4, 8, 12].map(at => view.getFloat32(ANSWER + at, true)),
    doubles: [0, 8].map(at => view.getFloat64(ANSWER + at, true)),
  };
}

test('lanes compute side by side and share the flags', () => {
  const { singles: answer, flags } = singles('divps', DEFAULT, [1, 1, -4, 0], [4, 3, 0, 7]);
  assert.deepEqual(answer, [0.25, Math.fround(1 / 3), -Infinity, 0]);
  assert.equal(flags, ZE | PE);
});

test('rounding control', () => {
  const lowest = [0, 1, 2, 3].map(rounding => doubles('addsd', DEFAULT | (rounding << 13), [1], [2 ** -60]).doubles[0]);
  assert.deepEqual(lowest, [1, 1, 1 + 2 ** -52, 1]);
});

test('denormals: DE, DAZ and FTZ', () => {
  const tiny = 2 ** -140;
  assert.equal(singles('addss', DEFAULT, [tiny], [1]).flags, DE | PE);
  assert.equal(singles('addss', DEFAULT | 0x40, [tiny], [1]).flags, 0); // DAZ: exactly 1
  const product = singles('mulss', DEFAULT, [2 ** -100], [2 ** -40]);
  assert.equal(product.singles[0], tiny);
  assert.equal(product.flags, 0); // tiny, but exact
  const flushed = singles('mulss', DEFAULT | 0x8000, [2 ** -100], [-(2 ** -40)]);
  assert.ok(Object.is(flushed.singles[0], -0));
  assert.equal(flushed.flags, UE | PE);
});

test('an unmasked exception of any lane faults with its flags set; later ones are not looked for', () => {
  const zero = singles('divps', DEFAULT & ~(ZE << 7), [1, 1], [3, 0]);
  assert.deepEqual([zero.raised, zero.flags], [19, ZE | IE]); // lanes 2 and 3: 0 / 0
  const overflow = singles('mulss', DEFAULT & ~(OE << 7), [2 ** 100], [2 ** 100]);
  assert.deepEqual([overflow.raised, overflow.flags], [19, OE]);
  const sticky = singles('addss', (DEFAULT & ~(PE << 7)) | PE, [1], [1]);
  assert.deepEqual([sticky.raised, sticky.flags], [0, PE]); // an old flag does not fault
});

test('without state.CR4.OSXMMEXCPT it is #UD', () => {
  view.setUint32(STATE + state.CR4, 0, true);
  view.setUint32(STATE + state.MXCSR, 0, true);
  view.setBigUint64(STATE + state.VECTOR, 0n, true);
  view.setBigUint64(STATE + state.VECTOR + 16, 0n, true);
  raised = 0;
  assert.throws(() => sseFloatHelpers.divsd!(cpu));
  assert.equal(raised, 6);
});

test('NaNs: the first operand’s, made quiet', () => {
  const { words, flags } = singles(
    'addps',
    DEFAULT,
    [{ bits: 0x7fc00001 }, { bits: 0x7f800002 }],
    [{ bits: 0x7fc00009 }, { bits: 0x7fc00009 }],
  );
  assert.deepEqual(words.slice(0, 2), [0x7fc00001, 0x7fc00002]);
  assert.equal(flags, IE);
});

test('MIN and MAX answer with the second operand when in doubt, signalling NaN and all', () => {
  const { words, flags } = singles(
    'minps',
    DEFAULT,
    [0, { bits: 0x7fc00001 }, 1, -1],
    [{ bits: 0x80000000 }, 5, { bits: 0x7f800001 }, -2],
  );
  assert.deepEqual(words, [0x80000000, 0x40a00000, 0x7f800001, 0xc0000000]);
  assert.equal(flags, IE);
});

test('predicates', () => {
  const answers = [0, 1, 2, 3, 4, 5, 6, 7].map(code =>
    singles('cmpps', DEFAULT, [1, 2, 3, { bits: 0x7fc00000 }], [2, 2, 2, 2], code)
      .words.map(word => (word === 0xffffffff ? 1 : word))
      .join(''),
  );
  assert.deepEqual(answers, ['0100', '1000', '1100', '0001', '1011', '0111', '0011', '1110']);
  assert.equal(singles('cmpps', DEFAULT, [{ bits: 0x7fc00000 }], [1], 0).flags, 0);
  assert.equal(singles('cmpps', DEFAULT, [{ bits: 0x7fc00000 }], [1], 1).flags, IE);
});

test('comparison to flags', () => {
  const of = (x: number, y: number) => {
    doubles('ucomisd', DEFAULT, [x], [y]);
    return view.getUint32(STATE + state.RESULT, true);
  };
  assert.deepEqual([of(2, 1), of(1, 2), of(1, 1), of(1, Number.NaN)], [0, 1, 0x40, 0x45]);
});

test('conversions to integers: rounding, truncation, the indefinite', () => {
  const to = (name: string, value: number) => {
    view.setFloat64(STATE + state.VECTOR + 16, value, true);
    const { flags } = run(name, DEFAULT);
    return [view.getBigInt64(STATE + state.RESULT, true), flags];
  };
  assert.deepEqual(to('cvtsd2si_32', 2.5), [2n, PE]);
  assert.deepEqual(to('cvtsd2si_32', 3.5), [4n, PE]);
  assert.deepEqual(to('cvttsd2si_32', -3.5), [0xfffffffdn, PE]); // 32 bits, zero-extended
  assert.deepEqual(to('cvttsd2si_32', 2 ** 31), [0x80000000n, IE]);
  assert.deepEqual(to('cvttsd2si_64', 2 ** 31), [2n ** 31n, 0]);
  assert.deepEqual(to('cvttsd2si_64', Number.NaN), [-(2n ** 63n), IE]);
  const { words } = doubles('cvtpd2dq', DEFAULT, [], [1.5, -1.5]);
  assert.deepEqual(words, [2, 0xfffffffe, 0, 0]);
});

test('conversions from integers', () => {
  view.setBigInt64(STATE + state.ARGUMENT, 2n ** 53n + 1n, true);
  assert.equal(run('cvtsi2sd_64', DEFAULT).doubles[0], 2 ** 53);
  assert.equal(view.getUint32(STATE + state.MXCSR, true) & 0x3f, PE);
});

test('ROUND: the immediate’s mode, state.MXCSR’s, and with PE kept quiet', () => {
  const of = (immediate: number, mxcsr = DEFAULT) => singles('roundps', mxcsr, [], [2.5, -2.5, 0.4, -0.4], immediate);
  assert.deepEqual(of(0).singles, [2, -2, 0, -0]);
  assert.deepEqual(of(1).singles, [2, -3, 0, -1]);
  assert.deepEqual(of(2).singles, [3, -2, 1, -0]);
  assert.deepEqual(of(4, DEFAULT | (1 << 13)).singles, [2, -3, 0, -1]);
  assert.equal(of(0).flags, PE);
  assert.equal(of(8).flags, 0);
});

test('horizontal and alternating forms', () => {
  assert.deepEqual(singles('haddps', DEFAULT, [1, 2, 3, 4], [10, 20, 30, 40]).singles, [3, 7, 30, 70]);
  assert.deepEqual(doubles('hsubpd', DEFAULT, [5, 3], [1, 9]).doubles, [2, -8]);
  assert.deepEqual(singles('addsubps', DEFAULT, [1, 2, 3, 4], [10, 20, 30, 40]).singles, [-9, 22, -27, 44]);
});

test('DPPS: chosen products, one sum, chosen lanes; of two NaNs the same one everywhere', () => {
  const { singles: answer } = singles('dpps', DEFAULT, [1, 2, 3, 4], [10, 20, 30, 40], 0xd5);
  assert.deepEqual(answer, [10 + 90 + 160, 0, 260, 0]);
  const { words } = singles('dpps', DEFAULT, [{ bits: 0x7fc00001 }, { bits: 0x7fc00002 }], [1, 1], 0xff);
  assert.deepEqual(words, [0x7fc00001, 0x7fc00001, 0x7fc00001, 0x7fc00001]);
});

test('approximations are within 1.5 * 2^-12, and know their special cases', () => {
  for (let n = 0; n < 4096; n++) {
    const x = (1 + n / 4096 + (n % 7) / 32768) * 2 ** ((n % 200) - 100);
    const reciprocal = singles('rcpss', DEFAULT, [], [x]).singles[0]!;
    const root = singles('rsqrtss', DEFAULT, [], [x]).singles[0]!;
    assert.ok(Math.abs(reciprocal * x - 1) < 1.5 / 4096, `rcp ${x}`);
    assert.ok(Math.abs(root * Math.sqrt(x) - 1) < 1.5 / 4096, `rsqrt ${x}`);
  }
  const of = (name: string) => singles(name, DEFAULT, [], [0, -(2 ** -140), Infinity, -4]);
  assert.deepEqual(of('rcpps').singles.slice(0, 3), [Infinity, -Infinity, 0]);
  assert.deepEqual(of('rsqrtps').words, [0x7f800000, 0xff800000, 0, 0xffc00000]);
  assert.equal(of('rsqrtps').flags, 0);
});
