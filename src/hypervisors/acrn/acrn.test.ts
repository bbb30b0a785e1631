/** What Linux's arch/x86/kernel/cpu/acrn.c asks: the signature, the features, and the TSC's frequency. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fakeContext, fakeProcessors } from '../../conformance/fake-processor.ts';
import { acrn } from './index.ts';

test('a guest finds ACRN, is not the service VM, and knows how fast its TSC runs', () => {
  const [cpu] = fakeProcessors(1, 1 << 20);
  const { cpuid } = acrn.make(fakeContext(cpu!)).cpu;
  assert.ok(typeof cpuid === 'function');
  const nothing = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  const ask = (leaf: number) => cpuid(cpu!, leaf, 0, () => nothing);
  assert.equal(ask(1)!.ecx >>> 31, 1);
  const { eax, ebx, ecx, edx } = ask(0x40000000)!;
  assert.equal(Buffer.from(new Uint32Array([ebx, ecx, edx]).buffer).toString('latin1'), 'ACRNACRNACRN');
  assert.equal(eax, 0x40000010);
  assert.deepEqual(ask(0x40000001), nothing);
  assert.equal(ask(0x40000010)!.eax, cpu!.tsc.frequency / 1000);
  assert.equal(ask(0x40000011), undefined);
});
