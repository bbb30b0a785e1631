import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FakeProcessor } from '../conformance/fake-processor.ts';
import { callersOf } from './callers.ts';

const TEXT = 0xffffffff81000000n;
const STACK = 0xffffc90000002f00n;

/** A processor in a kernel, with these words on its stack and this code at TEXT. */
function processor(words: readonly bigint[], code: readonly number[]): FakeProcessor {
  const cpu = new FakeProcessor();
  cpu.set('rip', TEXT + 0x500n);
  cpu.set('rsp', STACK);
  const stack = new Uint8Array(words.length * 8);
  for (const [index, word] of words.entries())
    new DataView(stack.buffer).setBigUint64(index * 8, BigInt.asUintN(64, word), true);
  const pieces: [bigint, Uint8Array][] = [
    [STACK, stack],
    [TEXT, Uint8Array.from(code)],
  ];
  cpu.read = (linear, length) => {
    const bytes = new Uint8Array(length);
    for (const [base, data] of pieces) {
      const from = Number(linear - base);
      if (from < 0 || from >= 4096) continue;
      bytes.set(data.subarray(from, from + length));
      return bytes;
    }
    return undefined;
  };
  return cpu;
}

describe('the callers on a stack', () => {
  const code = [
    ...[0x90, 0x90, 0xe8, 1, 2, 3, 4], // CALL rel32, back at 7
    ...[0xff, 0xd0], // CALL RAX, back at 9
    ...[0xff, 0x14, 0xc5, 0, 0, 0, 0x81], // CALL [RAX * 8 + disp32], back at 16
    ...[0xff, 0x50, 0x18], // CALL [RAX + disp8], back at 19
    ...[0x90, 0xff, 0x60, 0x18, 0x90, 0x90, 0x90, 0x90], // JMP, not back at 23
  ];

  test('are the words that a CALL stands before', () => {
    const words = [
      7n,
      TEXT + 9n,
      0x246n,
      TEXT + 8n,
      TEXT + 16n,
      TEXT + 23n,
      STACK + 64n,
      TEXT + 19n,
      TEXT + 7n,
      TEXT + 9n,
    ];
    assert.deepEqual(callersOf(processor(words, code)), [TEXT + 9n, TEXT + 16n, TEXT + 19n, TEXT + 7n]);
  });

  test('are none where no kernel is at work, or its stack cannot be read', () => {
    const cpu = processor([TEXT + 7n], code);
    assert.deepEqual(callersOf(cpu), [TEXT + 7n]);
    cpu.set('rsp', 0x7fff_0000_0000n);
    assert.deepEqual(callersOf(cpu), []);
    cpu.set('rsp', 0xffff_9000_0000_0000n);
    assert.deepEqual(callersOf(cpu), []);
    cpu.set('rsp', STACK);
    cpu.set('rip', 0x401000n);
    assert.deepEqual(callersOf(cpu), []);
  });

  test('are not looked for beyond the page of the stack', () => {
    const cpu = processor([TEXT + 7n], code);
    const lengths: number[] = [];
    const { read } = cpu;
    cpu.read = (linear, length, access) => {
      lengths.push(length);
      return read(linear, length, access);
    };
    cpu.set('rsp', STACK + 0xf9n);
    assert.deepEqual(callersOf(cpu), []);
    assert.deepEqual(lengths, [0]);
  });
});
