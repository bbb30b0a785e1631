/** The functions of checked-floats.ts against the helpers in software, which know every case: answers, MXCSR and faults. */
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { Body, Module } from '../../wasm/module.ts';
import { CHECKED_FLOATS, defineCheckedFloats } from './checked-floats.ts';
import type { Cpu } from './cpu.ts';
import { sseFloatHelpers } from './sse-float.ts';
import { STATE, state } from './state.ts';

const OPERANDS = 0x8000;
const ANSWER = 0x8020;

/** Bits of numbers where something changes, and numbers around which results are exact. */
const DOUBLES = [
  0n,
  1n,
  0xfffffffffffffn, // the largest denormal one
  1n << 52n, // the smallest normal one
  (1n << 52n) + 1n,
  0x3ff0000000000000n, // 1
  0x3ff0000000000001n,
  0x4008000000000000n, // 3
  0x4022000000000000n, // 9
  0x4340000000000001n, // 2^53 + 2
  0x1ff0000000000000n, // squares to the smallest normal one and half of it
  0x1fe0000000000000n,
  0x7fefffffffffffffn,
  0x7ff0000000000000n,
  0x7ff8000000000001n, // quiet and signalling NaNs
  0x7ff0000000000002n,
];
const SINGLES = [0, 1, 0x7fffff, 0x800000, 0x800001, 0x3f800000, 0x3f800001, 0x40400000, 0x41100000, 0x4b800001].concat(
  [0x20000000, 0x1fc00000, 0x7f7fffff, 0x7f800000, 0x7fc00001, 0x7f800002],
);
const FLAGS = [0, 0x3f, 0x20, 0x29, 0x31, 0x2f, 0x1f];
const CONTROLS = [0x1f80, 0x1fc0, 0x9f80, 0x9fc0, 0x3f80, 0x0f80, 0x1f00, 0x0000];
const ROUNDS = 1000;

describe('checked float operations', () => {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const view = new DataView(memory.buffer);
  const bytes = new Uint8Array(memory.buffer);
  const raised = Symbol();
  const cpu = {
    view,
    bytes,
    raise(vector: number) {
      view.setUint32(STATE + state.FAULT, vector | 0x100, true);
      throw raised;
    },
  } as unknown as Cpu;
  let inSoftware = 0;
  /** As the engine calls a helper: 1 if it faulted. */
  const call = (name: string): number => {
    inSoftware++;
    try {
      sseFloatHelpers[name]!(cpu);
      return 0;
    } catch (thrown) {
      if (thrown !== raised) throw thrown;
      return 1;
    }
  };
  let run: (number: number) => void;
  before(() => {
    const module = new Module(1);
    const helper = module.import('env', 'helper', ['i32'], ['i32']);
    const functions = defineCheckedFloats(module, helper, name => CHECKED_FLOATS.indexOf(name));
    const caller = new Body(['i32'], []);
    functions.forEach((fn, i) => {
      caller.get(0);
      caller.i32(i);
      caller.op('i32.eq');
      caller.if();
      caller.i32(ANSWER);
      for (const at of [0, 16]) {
        caller.i32(OPERANDS + at);
        caller.memory('v128.load', 0);
      }
      caller.call(fn);
      caller.memory('v128.store', 0);
      caller.end();
    });
    module.function(caller, 'run');
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.encode()), {
      env: { memory, helper: (id: number) => call(CHECKED_FLOATS[id]!) },
    });
    run = exports.run as typeof run;
  });

  let seed = 1;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 0x19660d) + 0x3c6ef35f) | 0;
    return (seed >>> 8) % below;
  };
  const pick = <T>(from: readonly T[]): T => from[random(from.length)]!;
  /** A number of the list with either sign, or a small integer. */
  const fill = (at: number, double: boolean) => {
    const integer = random(2) ? random(4000) - 2000 : undefined;
    if (double) {
      if (integer === undefined) view.setBigUint64(at, pick(DOUBLES) | (BigInt(random(2)) << 63n), true);
      else view.setFloat64(at, integer, true);
    } else if (integer === undefined) view.setUint32(at, pick(SINGLES) | (random(2) << 31), true);
    else view.setFloat32(at, integer, true);
  };
  /** A number of arbitrary digits, near 1: products and sums of such are rounded, and cancel now and then. */
  const fillNear = (at: number, double: boolean) => {
    const word = () => (random(0x10000) << 16) | random(0x10000);
    const sign = random(2) << 31;
    if (!double) return view.setUint32(at, sign | ((120 + random(14)) << 23) | (word() & 0x7fffff), true);
    view.setUint32(at, random(4) ? word() : 0, true);
    view.setUint32(at + 4, sign | ((990 + random(66)) << 20) | (word() & 0xfffff), true);
  };
  const isDenormal = (at: number, double: boolean) =>
    double
      ? (view.getBigUint64(at, true) & (0x7ffn << 52n)) === 0n && view.getFloat64(at, true) !== 0
      : (view.getUint32(at, true) & 0x7f800000) === 0 && view.getFloat32(at, true) !== 0;

  CHECKED_FLOATS.forEach((name, number) => {
    it(name, cpu => {
      const double = name.endsWith('d');
      const size = double ? 8 : 4;
      const fused = name.startsWith('fma');
      inSoftware = 0;
      view.setUint32(STATE + state.CR4, 1 << 10, true); // OSXMMEXCPT
      const rounds = fused ? 8 * ROUNDS : ROUNDS;
      for (let round = 0; round < rounds; round++) {
        for (let at = 0; at < 32; at += size) fill(OPERANDS + at, double);
        // Half of the time the lanes are alike, as they are for scalars.
        if (random(2))
          for (let at = size; at < 16; at += size)
            for (const half of [0, 16]) bytes.copyWithin(OPERANDS + half + at, OPERANDS + half, OPERANDS + half + size);
        if (fused && round & 1) for (let at = 0; at < 32; at += size) fillNear(OPERANDS + at, double);
        const third = STATE + state.VECTOR + 32;
        for (let at = 0; at < 16; at += size) (round & 1 ? fillNear : fill)(third + at, double);
        // What the product is near, with the other sign.
        if (round % 16 === 1 && double)
          for (const at of [0, 8]) {
            const product = view.getFloat64(OPERANDS + at, true) * view.getFloat64(OPERANDS + 16 + at, true);
            view.setFloat64(third + at, -product, true);
          }
        if (name.startsWith('sqrt')) bytes.copyWithin(OPERANDS, OPERANDS + 16, OPERANDS + 32);
        const mxcsr = fused && round & 2 ? 0x1fa0 : pick(CONTROLS) | pick(FLAGS);
        const random8 = random(8);
        const prepare = () => {
          view.setUint32(STATE + state.MXCSR, mxcsr, true);
          view.setUint32(STATE + state.FAULT, 0, true);
          view.setUint32(STATE + state.ARGUMENT, fused ? random8 : round, true);
        };
        prepare();
        run(number);
        const outcome = {
          mxcsr: view.getUint32(STATE + state.MXCSR, true),
          fault: view.getUint32(STATE + state.FAULT, true),
        };
        const small = view.getUint32(STATE + state.FLOAT_DENORMAL, true) !== 0;
        prepare();
        bytes.copyWithin(STATE + state.VECTOR, OPERANDS, OPERANDS + 32);
        const helped = inSoftware;
        const faulted = call(name);
        inSoftware = helped;
        const what = `${name} ${Buffer.from(bytes.slice(OPERANDS, OPERANDS + 32)).toString('hex')} ${mxcsr.toString(16)}`;
        assert.deepEqual(
          outcome,
          { mxcsr: view.getUint32(STATE + state.MXCSR, true), fault: view.getUint32(STATE + state.FAULT, true) },
          what,
        );
        if (faulted) continue;
        assert.deepEqual(
          bytes.slice(ANSWER, ANSWER + 16),
          bytes.slice(STATE + state.VECTOR + 48, STATE + state.VECTOR + 64),
          what,
        );
        const places = name.startsWith('cmp') ? [OPERANDS, OPERANDS + 16] : [OPERANDS, OPERANDS + 16, ANSWER];
        const denormals = places.some(place =>
          Array.from({ length: 16 / size }, (_, i) => place + i * size).some(at => isDenormal(at, double)),
        );
        // Nothing is remembered of what FMA has met.
        if (denormals && !fused) assert.ok(small, `${what}: a denormal number passed unnoticed`);
      }
      cpu.diagnostic(`${inSoftware} of ${rounds} in software`);
      assert.ok(inSoftware < rounds, 'nothing is done in WebAssembly');
    });
  });
});
