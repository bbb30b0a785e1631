import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeProcessor, fakeContext } from '../../conformance/fake-processor.ts';
import { native } from '../../paravirt/native.ts';
import { findHypervisor } from '../list.ts';

const UD = { vector: 6 };
const CODE = 0x1000;
const PREFIX = [0x0f, 0x0b, 0x78, 0x65, 0x6e];

function setUp(bytes: readonly number[]) {
  const cpu = new FakeProcessor();
  const table = findHypervisor('xen-pvh,hvm_fep')!.make(fakeContext(cpu));
  cpu.memory.copyIn(CODE, Uint8Array.from(bytes));
  cpu.set('rip', BigInt(CODE));
  cpu.set('flags', 0x10202n);
  const { exception } = table.irq;
  assert.ok(typeof exception === 'function');
  return { cpu, exception };
}

test('the option is one of xen-pvh, and costs nothing without it', () => {
  const context = fakeContext();
  assert.equal(findHypervisor('xen-pvh')!.make(context).irq.exception, native);
  for (const name of ['xen-pv,hvm_fep', 'xen-pvh,hvm-fep', 'xen-pvh,', 'xen-pvh,constructor', ',hvm_fep'])
    assert.equal(findHypervisor(name), undefined, name);
});

test('the prefix is passed over, and RF with it', () => {
  const { cpu, exception } = setUp([...PREFIX, 0x90]);
  assert.equal(exception(cpu, UD), true);
  assert.equal(cpu.get('rip'), BigInt(CODE + 5));
  assert.equal(cpu.get('flags'), 0x202n);
});

test('in 32-bit code, relative to CS, and within 4 GiB', () => {
  const { cpu, exception } = setUp([]);
  cpu.mode = 32;
  cpu.setSegment('cs', { selector: 8, base: 0x1003n, limit: 0xffffffff, attributes: 0 });
  cpu.memory.copyIn(0x1000, Uint8Array.from(PREFIX));
  cpu.set('rip', 0xfffffffdn);
  assert.equal(exception(cpu, UD), true);
  assert.equal(cpu.get('rip'), 2n);
});

test('everything else is #UD', () => {
  for (const bytes of [
    [0x0f, 0x0b, 0x78, 0x65, 0x6f],
    [0x0f, 0x0b],
    [0x0f, 0xff],
  ]) {
    const { cpu, exception } = setUp(bytes);
    assert.equal(exception(cpu, UD), false);
    assert.equal(cpu.get('rip'), BigInt(CODE));
  }
  const { cpu, exception } = setUp(PREFIX);
  assert.equal(exception(cpu, { vector: 13, code: 0 }), false);
});
