import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RegisterName } from '../../paravirt/processor.ts';
import { farTransfer } from './far-transfer.ts';

const decode = (bytes: readonly number[], wide = true) => farTransfer(Uint8Array.from(bytes), wide);
const VALUES: Partial<Record<RegisterName, number>> = {
  ...{ rax: 0x10, rcx: 0x100, rdx: 0x1000, rbx: 0x2_0000, rsp: 0x3000, rbp: 0x4000, rsi: 0x5000, rdi: 0xfffffff0 },
};
const place = (bytes: readonly number[], wide = true) => {
  const transfer = decode(bytes, wide)!;
  const { segment, offset } = transfer.operand!;
  return [transfer.calls ? 'call' : 'jmp', transfer.length, segment, offset(name => VALUES[name]!)];
};

test('a far pointer in the instruction', () => {
  assert.deepEqual(decode([0x9a, 1, 2, 3, 4, 0x53, 0]), { calls: true, length: 7, selector: 0x53 });
  assert.deepEqual(decode([0xea, 1, 2, 3, 4, 0x53, 1]), { calls: false, length: 7, selector: 0x153 });
  assert.deepEqual(decode([0x66, 0x9a, 1, 2, 0x53, 0]), { calls: true, length: 6, selector: 0x53 });
  assert.deepEqual(decode([0x9a, 1, 2, 0x53, 0], false), { calls: true, length: 5, selector: 0x53 });
  assert.equal(decode([0x9a, 1, 2, 3, 4, 0x53]), undefined, 'cut off');
});

test('a far pointer in memory: its selector stands behind the offset', () => {
  assert.deepEqual(place([0xff, 0x1d, 0x78, 0x56, 0x34, 0x12]), ['call', 6, 'ds', 0x1234567c]);
  assert.deepEqual(place([0xff, 0x28]), ['jmp', 2, 'ds', 0x14]);
  assert.deepEqual(place([0xff, 0x58, 0xf0]), ['call', 3, 'ds', 4]);
  assert.deepEqual(place([0xff, 0x5d, 0x08]), ['call', 3, 'ss', 0x400c], 'EBP is in the stack');
  assert.deepEqual(place([0xff, 0x1c, 0x24]), ['call', 3, 'ss', 0x3004], 'ESP, without an index');
  assert.deepEqual(place([0x64, 0xff, 0x5c, 0x88, 4]), ['call', 5, 'fs', 0x418], 'EAX + 4 ECX + 4');
  assert.deepEqual(place([0xff, 0x1c, 0x8d, 0, 0, 1, 0]), ['call', 7, 'ds', 0x10404], 'no base');
  assert.deepEqual(place([0xff, 0x9f, 0x20, 0, 0, 0]), ['call', 6, 'ds', 0x14], 'it wraps at 4 GiB');
  assert.deepEqual(place([0x66, 0xff, 0x18]), ['call', 3, 'ds', 0x12]);
});

test('addresses of 16 bits', () => {
  assert.deepEqual(place([0x67, 0xff, 0x1e, 0x34, 0x12]), ['call', 5, 'ds', 0x1238]);
  assert.deepEqual(place([0x67, 0xff, 0x18]), ['call', 3, 'ds', 0x5004], 'BX + SI wraps');
  assert.deepEqual(place([0x67, 0xff, 0x5a, 0x10]), ['call', 4, 'ss', 0x9014]);
  assert.deepEqual(place([0xff, 0xae, 0xff, 0xff], false), ['jmp', 4, 'ss', 0x4001]);
});

test('other instructions are none', () => {
  for (const bytes of [
    [],
    [0x66],
    [0x90],
    [0xff],
    [0xff, 0xd0],
    [0xff, 0x10],
    [0xff, 0xd8],
    [0xff, 0x1c],
    [0xff, 0x1d, 0],
  ])
    assert.equal(decode(bytes), undefined, `${bytes}`);
});
