/** Values, effects and flow of `Code`: what is emitted late still is what it was where it was made. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Code, type Value } from './code.ts';
import { Body, Module } from './module.ts';
import type { ValueType } from './opcodes.ts';

/** A function and the memory that it works on, at 0. */
function made(
  parameters: ValueType[],
  fill: (b: Code, ...parameters: Value[]) => void,
): { run: (...values: number[]) => number; view: DataView } {
  const module = new Module(1);
  const b = new Code(new Body(parameters, ['i32']));
  fill(b, ...parameters.map((type, index) => b.local(type, index)));
  module.function(b.complete(), 'run');
  const memory = new WebAssembly.Memory({ initial: 1 });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.encode()), { env: { memory } });
  return { run: exports.run as (...values: number[]) => number, view: new DataView(memory.buffer) };
}

describe('reads', () => {
  test('of a variable are not overtaken by writes', () => {
    const { run } = made(['i32'], (b, x) => {
      const v = b.variable(x!);
      const before = v.get();
      v.add(1);
      b.answer(b.add(b.mul(before, 100), v.get()));
    });
    assert.equal(run(7), 708);
  });
  test('of memory are not overtaken by stores, nor by what a call stores', () => {
    const { run, view } = made(['i32'], (b, at) => {
      const before = b.fetch('i32.load', at!);
      b.put('i32.store', at!, 5);
      b.answer(b.sub(before, b.fetch('i32.load', at!)));
    });
    view.setInt32(16, 47, true);
    assert.equal(run(16), 42);
  });
  test('that a condition or a block may pass by are made before it', () => {
    const { run } = made(['i32'], (b, x) => {
      const v = b.variable(b.i32(1));
      const old = v.get();
      b.block(leave => {
        leave(b.eq(x!, 0));
        v.set(b.add(old, 10));
        b.when(b.eq(x!, 1), () => v.set(b.add(old, 20)));
      });
      b.answer(b.add(b.mul(old, 1000), v.get()));
    });
    assert.deepEqual(
      [0, 1, 2].map(x => run(x)),
      [1001, 1021, 1011],
    );
  });
  test("of one turn of a loop are that turn's", () => {
    // Fibonacci: each turn needs the old values of both.
    const { run } = made(['i32'], (b, n) => {
      const [p, q, i] = [b.variable(b.i32(0)), b.variable(b.i32(1)), b.variable(b.i32(0))];
      const first = p.get();
      b.while(
        () => b.ltu(i.get(), n!),
        () => {
          const old = p.get();
          p.set(q.get());
          q.add(old);
          i.add(1);
        },
      );
      b.answer(b.add(p.get(), b.mul(first, 1000)));
    });
    assert.deepEqual(
      [0, 1, 2, 10].map(x => run(x)),
      [0, 1, 1, 55],
    );
  });
});

describe('flow', () => {
  test('only one side of a choice is computed', () => {
    const { run } = made(['i32'], (b, x) => {
      b.answer(
        b.choose(
          b.ltu(x!, 65536),
          () => b.fetch('i32.load8_u', x!),
          () => b.i32(-1),
        ),
      );
    });
    assert.deepEqual([run(0), run(1 << 30)], [0, -1]);
  });
  test('a switch takes one case and goes on behind all', () => {
    const { run } = made(['i32'], (b, x) => {
      const v = b.variable(b.i32(0));
      b.switch(x!, [() => v.set(10), () => b.answer(20)], () => v.set(30));
      b.answer(b.add(v.get(), 1));
    });
    assert.deepEqual(
      [0, 1, 2, 9].map(x => run(x)),
      [11, 20, 31, 31],
    );
  });
  test('sections share scratch locals, and variables of the whole function go across', () => {
    const { run } = made(['i32'], (b, x) => {
      const sum = b.declare('i32');
      const i = b.declare('i32');
      b.outerBlock(leave =>
        b.outerLoop(again => {
          leave(b.geu(i.get(), x!));
          b.outerBlock(next =>
            b.outerSwitch(
              () => b.and(i.get(), 3),
              [
                () => {
                  sum.add(1);
                  next();
                },
                () => sum.add(10), // and 100, of the next case
              ],
              () => sum.add(100),
            ),
          );
          i.add(1);
          again();
        }),
      );
      b.answer(sum.get());
    });
    assert.deepEqual(
      [0, 1, 2, 3, 5].map(x => run(x)),
      [0, 1, 111, 211, 312],
    );
  });
  test('a value does not leave its block', () => {
    assert.throws(
      () =>
        made(['i32'], (b, x) => {
          let inner!: Value;
          b.when(x!, () => {
            inner = b.add(x!, 1);
          });
          b.answer(inner);
        }),
      /outside of the block/,
    );
  });
});
