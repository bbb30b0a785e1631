import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFakeGuest, type FakeGuest, VIRTUAL_BASE } from './fake-guest.ts';

const CODE = VIRTUAL_BASE + 0x20800n;
const HANDLER = VIRTUAL_BASE + 0x100000n;

/** Puts `code` where RIP is and raises what the processor would. @returns true if it was done instead of bounced. */
function execute(g: FakeGuest, code: number[], vector = 13): boolean {
  g.cpu.memory.copyIn(Number(CODE - VIRTUAL_BASE), Uint8Array.from(code));
  g.v.state.traps.address[vector] = HANDLER;
  g.cpu.set('rip', CODE);
  g.cpu.set('rsp', VIRTUAL_BASE + 0x30000n);
  g.exception({ vector, code: 0 });
  const done = g.cpu.get('rip') !== HANDLER;
  if (done) assert.equal(g.cpu.get('rip'), CODE + BigInt(code.length));
  return done;
}

test('the segment bases are read and written, and only canonical ones', async () => {
  const g = await createFakeGuest();
  for (const [index, register] of [
    [0x100, 'fsBase'],
    [0x101, 'gsBase'],
    [0x102, 'kernelGsBase'],
  ] as const) {
    g.cpu.set('rcx', 0xc0000000n | BigInt(index));
    g.cpu.set('rax', 0x81234000n);
    g.cpu.set('rdx', 0xffffffffn);
    assert.ok(execute(g, [0x0f, 0x30]));
    assert.equal(g.cpu.get(register), 0xffffffff81234000n);
    g.cpu.set('rdx', 0x12345678n);
    assert.ok(!execute(g, [0x0f, 0x30]), 'not canonical');
    g.cpu.set('rax', 0n);
    assert.ok(execute(g, [0x0f, 0x32]));
    assert.equal(g.cpu.get('rax'), 0x81234000n);
    assert.equal(g.cpu.get('rdx'), 0xffffffffn);
  }
});

test('an unknown register reads 0 until the guest can catch a #GP', async () => {
  const g = await createFakeGuest();
  g.cpu.memory.copyIn(Number(CODE - VIRTUAL_BASE), Uint8Array.of(0x0f, 0x32));
  g.cpu.set('rip', CODE);
  g.cpu.set('rcx', 0x1234n);
  g.cpu.set('rax', 77n);
  g.exception({ vector: 13, code: 0 });
  assert.equal(g.cpu.get('rax'), 0n);
  assert.ok(!execute(g, [0x0f, 0x32]));
  g.cpu.set('rcx', 0xc0000080n);
  assert.ok(execute(g, [0x0f, 0x32]), 'EFER');
  assert.equal(g.cpu.get('rax'), 0xd01n);
  assert.ok(execute(g, [0x0f, 0x30]), 'and takes back what it gave');
  g.cpu.set('rax', 0n);
  assert.ok(!execute(g, [0x0f, 0x30]));
});

test('ports answer all ones where the guest may use ports', async () => {
  const g = await createFakeGuest();
  g.cpu.set('rax', 0x1122334455667788n);
  g.cpu.set('rdx', 0x60n);
  assert.ok(!execute(g, [0xec]), 'not at I/O privilege level 0');
  g.v.vcpu.state.iopl = 1;
  assert.ok(execute(g, [0xec]));
  assert.equal(g.cpu.get('rax'), 0x11223344556677ffn);
  assert.ok(execute(g, [0x66, 0xed]));
  assert.equal(g.cpu.get('rax'), 0x112233445566ffffn);
  assert.ok(execute(g, [0xe5, 0x70]));
  assert.equal(g.cpu.get('rax'), 0xffffffffn);
  assert.ok(execute(g, [0xee]));
  assert.ok(execute(g, [0xfa]), 'CLI does nothing');
  g.v.vcpu.state.iopl = 0;
  assert.ok(!execute(g, [0xfb]));
  // The bitmap in the argument page allows port 0x63 alone.
  g.v.vcpu.state.ioBitmap = { address: g.words(...Array(8).fill(-1n), ~(1n << 35n)) - 0n, ports: 0x80 };
  g.cpu.memory.write64(Number(g.v.vcpu.state.ioBitmap.address - VIRTUAL_BASE) + 8, ~(1n << 35n) & 0xffffffffffffffffn);
  g.cpu.set('rdx', 0x63n);
  assert.ok(execute(g, [0xec]));
  assert.ok(!execute(g, [0x66, 0xed]), 'two ports, one forbidden');
  g.cpu.set('rdx', 0x7fn);
  assert.ok(!execute(g, [0x66, 0xed]), 'over the end of the bitmap');
});

test('INS fills memory and stops at its end', async () => {
  const g = await createFakeGuest();
  g.v.vcpu.state.iopl = 1;
  const target = VIRTUAL_BASE + 0x21000n;
  g.cpu.set('rcx', 3000n);
  g.cpu.set('rdi', target);
  g.cpu.memory.copyIn(Number(CODE - VIRTUAL_BASE), Uint8Array.of(0xf3, 0x6c));
  g.v.state.traps.address[13] = HANDLER;
  for (let i = 0; i < 3; i++) {
    g.cpu.set('rip', i === 0 ? CODE : g.cpu.get('rip'));
    g.exception({ vector: 13, code: 0 });
  }
  assert.equal(g.cpu.get('rip'), CODE + 2n);
  assert.equal(g.cpu.get('rcx'), 0n);
  assert.equal(g.cpu.get('rdi'), target + 3000n);
  assert.equal(g.cpu.memory.read8(0x21000 + 2999), 0xff);
  assert.equal(g.cpu.memory.read8(0x21000 + 3000), 0);
});

test('control registers show what Xen shows', async () => {
  const g = await createFakeGuest();
  assert.ok(execute(g, [0x0f, 0x20, 0xd8])); // mov rax, cr3
  assert.equal(g.cpu.get('rax'), BigInt(g.v.kernelRoot) << 12n);
  assert.ok(execute(g, [0x41, 0x0f, 0x20, 0xc1])); // mov r9, cr0
  assert.equal(g.cpu.get('r9'), 0x80050033n);
  g.cpu.set('r9', 0x8005003bn);
  assert.ok(execute(g, [0x41, 0x0f, 0x22, 0xc1]), 'TS may change');
  assert.equal(g.cpu.get('cr0'), 0x8005003bn);
  assert.ok(execute(g, [0x0f, 0x06])); // clts
  assert.equal(g.cpu.get('cr0'), 0x80050033n);
  g.cpu.set('r9', 0x50033n);
  assert.ok(!execute(g, [0x41, 0x0f, 0x22, 0xc1]), 'paging stays on');
  g.cpu.set('rax', 0xffffffffn);
  assert.ok(execute(g, [0x0f, 0x22, 0xe0])); // mov cr4, rax
  assert.equal(g.cpu.get('cr4') & 0x300000n, 0n, 'no SMEP, no SMAP');
  assert.equal(g.cpu.get('cr4') & 0x80n, 0n, 'no PGE');
  assert.ok(execute(g, [0x0f, 0x20, 0xe0])); // mov rax, cr4
  assert.equal(g.cpu.get('rax'), 0x5066cn);
  g.cpu.set('rax', 0x123000n);
  assert.ok(!execute(g, [0x0f, 0x22, 0xd8]), 'CR3 takes an L4 table only');
  assert.ok(!execute(g, [0x44, 0x0f, 0x20, 0xc0]), 'CR8');
});

test('what the guest has no business with stays a #GP', async () => {
  const g = await createFakeGuest();
  g.v.vcpu.state.iopl = 3;
  const codes = [
    [0xf4],
    [0x0f, 0x01, 0x15, 0, 0, 0, 0],
    [0x0f, 0x00, 0xd8],
    [0x0f, 0x01, 0xf8],
    [0x0f, 0x08],
    [0x0f, 0x78, 0xc0],
  ];
  for (const code of codes) assert.ok(!execute(g, code), code.join());
  for (const code of [[], [0x66], [0x0f], [0x48], [0xe4], [0x0f, 0x20]]) {
    // Cut off at the end of what can be read.
    const at = 0x400000 - code.length;
    g.cpu.memory.copyIn(at, Uint8Array.from(code));
    g.cpu.set('rip', VIRTUAL_BASE + BigInt(at));
    g.cpu.set('rsp', VIRTUAL_BASE + 0x30000n);
    g.exception({ vector: 13, code: 0 });
    assert.equal(g.cpu.get('rip'), HANDLER);
  }
});

test('in user mode only ports, the TSC and CPUID are looked at', async () => {
  const g = await createFakeGuest();
  g.v.inKernel = false;
  g.v.userRoot = g.v.kernelRoot;
  g.v.kernelSp = VIRTUAL_BASE + 0x30000n;
  g.cpu.set('rcx', 0xc0000101n);
  for (const code of [
    [0x0f, 0x32],
    [0x0f, 0x30],
    [0x0f, 0x06],
    [0x0f, 0x20, 0xd8],
    [0x0f, 0x09],
  ]) {
    assert.ok(!execute(g, code), code.join());
    g.v.inKernel = false;
  }
  g.cpu.clock.advance(1e9);
  assert.ok(execute(g, [0x0f, 0x31]));
  assert.equal((g.cpu.get('rdx') << 32n) | g.cpu.get('rax'), 2_500_000_000n);
});

test('forced emulation leads to the CPUID behind its prefix, and plain ud2 to #UD', async () => {
  const g = await createFakeGuest();
  g.v.state.traps.address[6] = HANDLER;
  g.cpu.memory.copyIn(Number(CODE - VIRTUAL_BASE), Uint8Array.of(0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2));
  g.cpu.set('rip', CODE);
  g.exception({ vector: 6 });
  assert.equal(g.cpu.get('rip'), CODE + 5n);
  assert.ok(!execute(g, [0x0f, 0x0b, 0x90, 0x90, 0x90, 0x90, 0x90], 6));
});

test('with TF, an instruction that Xen has done is followed by its single-step trap', async () => {
  const g = await createFakeGuest();
  g.v.state.traps.address[1] = HANDLER + 0x100n;
  g.cpu.set('flags', 0x302n);
  g.cpu.set('dr6', 0xffff0ff3n);
  g.cpu.memory.copyIn(Number(CODE - VIRTUAL_BASE), Uint8Array.of(0x0f, 0x06));
  g.cpu.set('rip', CODE);
  g.cpu.set('rsp', VIRTUAL_BASE + 0x30000n);
  g.exception({ vector: 13, code: 0 });
  assert.equal(g.cpu.get('rip'), HANDLER + 0x100n);
  assert.equal(g.cpu.memory.read64(0x30000 - 40), CODE + 2n, 'the frame is past the CLTS');
  assert.equal(g.cpu.get('flags') & 0x100n, 0n);
  assert.equal(g.cpu.get('dr6'), 0xffff4ff0n, 'BS, and no breakpoint of before');
});
