/**
 * The x87's helpers on a bare state: the stack and its faults, pending exceptions, stores in two steps, images. Numbers were
 * read off a real processor.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Cpu } from './cpu.ts';
import { STATE, STATE_SIZE, state } from './state.ts';
import { x87Helpers } from './x87.ts';

class Raised extends Error {
  readonly vector: number;
  constructor(vector: number) {
    super(`exception ${vector}`);
    this.vector = vector;
  }
}

/** A unit after FNINIT, with short ways to use it. */
function createUnit() {
  const bytes = new Uint8Array(STATE + STATE_SIZE);
  const view = new DataView(bytes.buffer);
  const cpu = {
    view,
    bytes,
    raise(vector: number): never {
      throw new Raised(vector);
    },
  } as unknown as Cpu;
  const unit = {
    view,
    run(name: string, ...args: bigint[]) {
      args.forEach((argument, i) => {
        view.setBigUint64(STATE + state.ARGUMENT + 8 * i, argument, true);
      });
      const helper = x87Helpers[name];
      assert.ok(helper, `no helper ${name}`);
      helper(cpu);
    },
    load(value: number) {
      view.setFloat64(0, value, true);
      unit.run('fld_m64', view.getBigUint64(0, true));
    },
    /** Pops ST(0) as a double. */
    pop(): number {
      unit.run('fst_m64');
      const value = view.getFloat64(STATE + state.RESULT, true);
      unit.run('fstp_commit');
      return value;
    },
    /** ST(0) as the processor shows it: sign and exponent, significand. */
    top(): string {
      const at = STATE + state.FPU_REGISTERS + 16 * ((unit.status() >> 11) & 7);
      return `${view.getUint16(at + 8, true).toString(16)}:${view.getBigUint64(at, true).toString(16).padStart(16, '0')}`;
    },
    status: () => view.getUint16(STATE + state.FPU_STATUS, true),
    control: (word: number) => unit.run('fldcw', BigInt(word)),
  };
  view.setUint32(STATE + state.CR0, 1, true);
  unit.run('fninit');
  return unit;
}

test('after FNINIT all is masked, empty, and rounds to nearest with 64 bits', () => {
  const unit = createUnit();
  assert.equal(unit.view.getUint16(STATE + state.FPU_CONTROL, true), 0x37f);
  assert.equal(unit.status(), 0);
  assert.equal(unit.view.getUint8(STATE + state.FPU_TAGS), 0);
});

test('arithmetic in all directions', () => {
  const unit = createUnit();
  const results: number[] = [];
  for (const name of [
    'fsub_st0_sti',
    'fsubr_st0_sti',
    'fdiv_st0_sti',
    'fdivr_st0_sti',
    'fadd_st0_sti',
    'fmul_st0_sti',
  ]) {
    unit.load(3);
    unit.load(12);
    unit.run(name, 1n);
    results.push(unit.pop());
    unit.pop();
  }
  assert.deepEqual(results, [9, -9, 4, 0.25, 15, 36]);
  unit.load(3);
  unit.load(12);
  unit.run('fsubp_sti_st0', 1n); // ST(1) - ST(0)
  assert.equal(unit.pop(), -9);
  assert.equal(unit.view.getUint8(STATE + state.FPU_TAGS), 0);
});

test('a ninth push overflows the stack: the indefinite, IE, SF and C1', () => {
  const unit = createUnit();
  for (let n = 0; n < 8; n++) unit.load(n);
  assert.equal(unit.status() & 0xff, 0);
  unit.run('fld1');
  assert.equal(unit.status() & 0x2ff, 0x241);
  assert.equal(unit.top(), 'ffff:c000000000000000');
});

test('an empty operand underflows the stack: C1 clear', () => {
  const unit = createUnit();
  unit.run('fadd_m32', 0n);
  assert.equal(unit.status() & 0x2ff, 0x41);
  assert.equal(unit.top(), 'ffff:c000000000000000');
});

test('an unmasked exception waits for the next waiting instruction', () => {
  const unit = createUnit();
  unit.control(0x37b); // division by zero unmasked
  unit.load(1);
  unit.run('fdiv_m32', 0n);
  assert.equal(unit.status() & 0x80ff, 0x8084);
  assert.equal(unit.top(), '3fff:8000000000000000'); // untouched
  assert.throws(() => unit.run('fld1'), new Raised(16));
  unit.run('fnstsw'); // waits for nothing
  unit.run('fnclex');
  unit.run('fld1');
});

test('FLDCW makes an old exception pending', () => {
  const unit = createUnit();
  unit.load(1);
  unit.run('fdiv_m32', 0n);
  assert.equal(unit.status() & 0x80ff, 4);
  unit.control(0x37b);
  assert.throws(() => unit.run('fwait'), new Raised(16));
});

test('a store changes nothing before its second half', () => {
  const unit = createUnit();
  unit.load(1 / 3);
  const before = unit.status();
  unit.run('fst_m32');
  assert.equal(unit.view.getFloat32(STATE + state.RESULT, true), Math.fround(1 / 3));
  assert.equal(unit.status(), before);
  unit.run('fstp_commit');
  assert.equal(unit.status() & 0x3f, 0x20);
  assert.equal(unit.view.getUint8(STATE + state.FPU_TAGS), 0);
});

test('an unmasked overflow writes nothing and pops nothing', () => {
  const unit = createUnit();
  unit.control(0x377);
  unit.load(1e300);
  unit.run('fst_m32');
  assert.equal(unit.view.getUint32(STATE + state.FPU_WRITES, true), 0);
  unit.run('fstp_commit');
  assert.equal(unit.status() & 0x80ff, 0x8088);
  assert.notEqual(unit.view.getUint8(STATE + state.FPU_TAGS), 0);
});

test('integers that do not fit are indefinite', () => {
  const unit = createUnit();
  unit.load(-32769);
  unit.run('fist_m16int');
  assert.equal(unit.view.getUint16(STATE + state.RESULT, true), 0x8000);
  unit.run('fstp_commit');
  assert.equal(unit.status() & 1, 1);
});

test('constants follow the rounding control', () => {
  const tops = [0, 1, 2, 3].map(rounding => {
    const unit = createUnit();
    unit.control(0x37f | (rounding << 10));
    unit.run('fldpi');
    const pi = unit.top();
    unit.run('fldl2t');
    return `${pi} ${unit.top()}`;
  });
  assert.deepEqual(tops, [
    '4000:c90fdaa22168c235 4000:d49a784bcd1b8afe',
    '4000:c90fdaa22168c234 4000:d49a784bcd1b8afe',
    '4000:c90fdaa22168c235 4000:d49a784bcd1b8aff',
    '4000:c90fdaa22168c234 4000:d49a784bcd1b8afe',
  ]);
});

test('FPREM takes 32 + d mod 32 bits at a time and reports the quotient when done', () => {
  const unit = createUnit();
  unit.load(3);
  unit.load(2 ** 100);
  unit.run('fprem');
  assert.equal(unit.status() & 0x400, 0x400);
  for (let n = 0; n < 5 && (unit.status() & 0x400) !== 0; n++) unit.run('fprem');
  assert.equal(unit.status() & 0x400, 0);
  assert.equal(unit.pop(), 1); // 2^100 mod 3
  unit.pop();
  unit.load(4);
  unit.load(23);
  unit.run('fprem'); // quotient 5 = 101b: C0 = 1, C3 = 0, C1 = 1
  assert.equal(unit.status() & 0x4700, 0x300);
  assert.equal(unit.pop(), 3);
});

test('FSCALE and FXTRACT are each other’s inverse', () => {
  const unit = createUnit();
  unit.load(-1234.5);
  unit.run('fxtract');
  assert.equal(unit.top(), 'bfff:9a50000000000000');
  unit.run('fscale');
  assert.equal(unit.pop(), -1234.5);
  assert.equal(unit.pop(), 10);
});

test('transcendental functions: results correct to the last of 64 bits', () => {
  const unit = createUnit();
  const of = (name: string, ...values: number[]) => {
    unit.run('fninit');
    for (const value of values) unit.load(value);
    unit.run(name);
    return unit.top();
  };
  assert.equal(of('fsin', 1), '3ffe:d76aa47848677021');
  assert.equal(of('fcos', 1), '3ffe:8a51407da8345c92');
  assert.equal(of('fpatan', 1, 1), '3ffe:c90fdaa22168c235');
  assert.equal(of('f2xm1', 0.5), '3ffd:d413cccfe7799211');
  assert.equal(of('fyl2x', 1, 10), '4000:d49a784bcd1b8afe');
  // Of a large angle, reduced by the processor's pi of 66 bits.
  assert.equal(of('fsin', 1e18), 'bffe:fe293239d98b5dc4');
  assert.equal(of('fpatan', -1, 3), 'bffd:a4bc7d1934f70924');
  assert.equal(of('fyl2xp1', 3, 0.125), '3ffe:82809d5be7072dbe');
  assert.equal(of('fsin', 2 ** 63), '403e:8000000000000000');
  assert.equal(unit.status() & 0x400, 0x400);
});

test('FNSAVE and FRSTOR, both sizes', () => {
  for (const size of [94, 108]) {
    const unit = createUnit();
    unit.control(0x27f);
    unit.load(1);
    unit.load(0);
    unit.run(`fnsave_${size}`);
    const wide = size === 108;
    const tags = unit.view.getUint16(STATE + state.FPU_IMAGE + (wide ? 8 : 4), true);
    assert.equal(tags, 0x1fff); // physical 6: zero, 7: valid
    unit.run('fnsave_commit');
    assert.equal(unit.view.getUint8(STATE + state.FPU_TAGS), 0);
    unit.run(`frstor_${size}`);
    assert.equal(unit.view.getUint16(STATE + state.FPU_CONTROL, true), 0x27f);
    assert.equal(unit.pop(), 0);
    assert.equal(unit.pop(), 1);
  }
});

test('EMMS empties all registers and sets TOP to 0', () => {
  const unit = createUnit();
  unit.load(1);
  unit.run('emms');
  assert.equal(unit.status(), 0);
  assert.equal(unit.view.getUint8(STATE + state.FPU_TAGS), 0);
});
