import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EINVAL } from '../xen/constants.ts';
import { createFakeGuest, type FakeGuest, FREE, VIRTUAL_BASE } from './fake-guest.ts';

const HANDLER = VIRTUAL_BASE + 0x100000n;
const STACK = VIRTUAL_BASE + 0x31000n;
const KERNEL_STACK = VIRTUAL_BASE + 0x30000n;
const IF = 0x200n;
const IRET = 23;

/** The frame that a bounce has pushed, low to high. */
function frame(g: FakeGuest, words: number): bigint[] {
  const bytes = g.cpu.read(g.cpu.get('rsp'), words * 8, { user: true })!;
  return [...new BigUint64Array(bytes.buffer)];
}

function setTrap(g: FakeGuest, vector: number, flags: number, address = HANDLER): void {
  const entry = BigInt(vector) | (BigInt(flags) << 8n) | (0xe033n << 16n);
  assert.equal(g.call(0, g.words(entry, address, 0, 0)), 0);
}

/** A guest whose user code has a root of its own, in user mode with known registers. */
async function inUserMode(): Promise<FakeGuest> {
  const g = await createFakeGuest();
  assert.equal(g.extended(3, FREE + 50), 0, 'an empty L4 table is enough');
  assert.equal(g.extended(15, FREE + 50), 0);
  assert.equal(g.call(3, 0xe02b, KERNEL_STACK), 0);
  g.cpu.set('gsBase', 0x1111n);
  g.cpu.set('kernelGsBase', 0x2222n);
  returnTo(g, { rip: 0x400000n, cs: 0xe033n, flags: IF, rsp: 0x7000n, ss: 0xe02bn });
  return g;
}

function returnTo(
  g: FakeGuest,
  to: { rip: bigint; cs: bigint; flags: bigint; rsp: bigint; ss: bigint; inSyscall?: boolean },
): void {
  g.words(0xaaaan, 0xbbbbn, 0xccccn, to.inSyscall ? 0x100n : 0n, to.rip, to.cs, to.flags, to.rsp, to.ss);
  g.cpu.set('rsp', VIRTUAL_BASE + 0x20000n);
  g.call(IRET);
}

test('an exception in the kernel is pushed on its own stack, aligned down to 16', async () => {
  const g = await createFakeGuest();
  setTrap(g, 14, 0);
  g.cpu.set('rsp', STACK + 9n);
  g.cpu.set('rip', HANDLER + 5n);
  g.cpu.set('rcx', 1n);
  g.cpu.set('r11', 2n);
  g.cpu.set('flags', 0x10302n); // RF, TF, IF
  g.exception({ vector: 14, code: 7, address: 0x1234n });
  assert.equal(g.cpu.get('rsp'), STACK - 64n);
  assert.deepEqual(frame(g, 8), [1n, 2n, 3n, HANDLER + 5n, 0xe030n | (1n << 32n), 0x10102n, STACK + 9n, 0xe02bn]);
  assert.equal(g.cpu.get('rip'), HANDLER);
  assert.equal(g.cpu.get('flags'), 0x202n, 'RF and TF are off, IF stays on');
  assert.equal(g.cpu.memory.read64(g.v.vcpu.info + 0x10), 0x1234n, 'CR2 is in vcpu_info');
  assert.equal(g.v.vcpu.upcallMask, true, 'as it was');
});

test('an exception in user code switches stack, page tables and GS base, and shows itself by its privilege level', async () => {
  const g = await inUserMode();
  assert.equal(g.v.inKernel, false);
  assert.equal(g.cpu.get('cr3'), BigInt(FREE + 50) << 12n);
  assert.equal(g.cpu.get('gsBase'), 0x2222n);
  assert.equal(g.v.vcpu.upcallMask, false, 'iret loads the mask from IF');
  assert.equal(g.cpu.get('rcx'), 0xccccn);
  assert.equal(g.cpu.get('r11'), 0xbbbbn);
  assert.equal(g.cpu.get('rax'), 0xaaaan);
  g.v.state.traps.address[14] = HANDLER;
  g.v.state.traps.flags[14] = 4;
  g.exception({ vector: 14, code: 6, address: 0x400000n });
  assert.equal(g.v.inKernel, true);
  assert.equal(g.cpu.get('gsBase'), 0x1111n);
  assert.equal(g.cpu.get('rsp'), KERNEL_STACK - 64n);
  assert.deepEqual(frame(g, 8).slice(2), [6n, 0x400000n, 0xe033n, 0x202n, 0x7000n, 0xe02bn]);
  assert.equal(g.v.vcpu.upcallMask, true, 'the trap masks events');
});

test('iret without user page tables, from a bad stack, or to nowhere', async () => {
  const g = await createFakeGuest();
  returnTo(g, { rip: 0x400000n, cs: 0xe033n, flags: IF, rsp: 0x7000n, ss: 0xe02bn });
  assert.match(g.cpu.kills[0]!, /without page tables/);
  const other = await createFakeGuest();
  other.cpu.set('rsp', 0x123n);
  other.call(IRET);
  assert.match(other.cpu.kills[0]!, /iret/);
  for (const [cs, rip] of [
    [0x1234n, 0x400000n],
    [0n, 0x400000n],
    [0xe033n, 1n << 47n],
    [0xe02bn, 0n],
  ] as const) {
    const third = await inUserMode();
    third.v.state.traps.address[13] = HANDLER;
    third.exception({ vector: 13, code: 8 });
    third.v.state.failsafe.address = HANDLER + 16n;
    returnTo(third, { rip, cs: cs | 3n, flags: IF, rsp: 0x7000n, ss: 0xe02bn });
    assert.deepEqual(third.cpu.kills, []);
    assert.equal(third.cpu.get('rip'), HANDLER + 16n, 'the failsafe callback');
    assert.deepEqual(frame(third, 11).slice(6), [rip, cs | 3n, 0x202n, 0x7000n, 0xe02bn]);
  }
});

test('iret in the kernel keeps the mode, and its flags cannot give privileges', async () => {
  const g = await createFakeGuest();
  const root = g.cpu.get('cr3');
  returnTo(g, {
    rip: HANDLER,
    cs: 0xe030n,
    flags: 0xffffffffffffffffn & ~IF,
    rsp: STACK,
    ss: 0xe02bn,
    inSyscall: true,
  });
  assert.equal(g.v.inKernel, true);
  assert.equal(g.cpu.get('cr3'), root);
  assert.equal(g.cpu.get('flags') & 0x23000n, 0n, 'no IOPL, no VM');
  assert.equal(g.cpu.get('flags') & IF, IF);
  assert.equal(g.v.vcpu.upcallMask, true);
  assert.equal(g.cpu.get('rcx'), HANDLER, 'as after SYSRET');
});

test('a system call of user code goes to its callback with the state SYSCALL left', async () => {
  const g = await inUserMode();
  g.v.state.syscall64.address = HANDLER;
  g.v.state.syscall64.maskEvents = true;
  g.cpu.set('rip', 0x400002n);
  g.cpu.set('rcx', 0x400002n);
  g.cpu.set('r11', 0x602n);
  g.cpu.set('flags', 0x602n);
  (g.cpuOps.syscall as (cpu: unknown) => void)(g.cpu);
  assert.equal(g.cpu.get('rip'), HANDLER);
  assert.deepEqual(frame(g, 7), [0x400002n, 0x602n, 0x400002n, 0xe033n, 0x602n, 0x7000n, 0xe02bn]);
  assert.equal(g.cpu.get('flags') & 0x400n, 0n, 'DF is off in the handler');
  assert.equal(g.v.vcpu.upcallMask, true);
});

test('without a callback SYSCALL is no instruction', async () => {
  const g = await inUserMode();
  g.v.state.traps.address[6] = HANDLER;
  g.cpu.set('rip', 0x400002n);
  (g.cpuOps.syscall as (cpu: unknown) => void)(g.cpu);
  assert.equal(g.cpu.get('rip'), HANDLER);
  assert.equal(frame(g, 7)[2], 0x400000n, 'the frame shows the instruction itself');
});

test('events wait for the mask, come after iret on the restored state, and mask themselves', async () => {
  const g = await createFakeGuest();
  assert.equal(g.call(4, HANDLER, HANDLER, HANDLER), 0);
  g.v.vcpu.markEventsPending();
  assert.equal(g.pending(), false);
  assert.equal(g.deliver(), false);
  returnTo(g, { rip: HANDLER + 0x40n, cs: 0xe030n, flags: IF, rsp: STACK, ss: 0xe02bn });
  assert.equal(g.cpu.get('rip'), HANDLER);
  assert.deepEqual(frame(g, 7).slice(2), [HANDLER + 0x40n, 0xe030n, 0x202n, STACK, 0xe02bn]);
  assert.equal(g.v.vcpu.upcallMask, true);
  assert.equal(g.deliver(), false, 'once');
  // Opened by a plain store and then noticed at the next hypercall.
  g.v.vcpu.upcallMask = false;
  g.cpu.set('rip', HANDLER + 0x50n);
  g.call(17, 0, 0);
  assert.equal(g.cpu.get('rip'), HANDLER);
  assert.equal(frame(g, 7)[2], HANDLER + 0x52n, 'behind the hypercall');
});

test('INT n needs a handler that lets it', async () => {
  const g = await inUserMode();
  g.v.state.traps.address[13] = HANDLER;
  g.v.state.traps.address[0x80] = HANDLER + 0x80n;
  g.v.state.traps.flags[0x80] = 1;
  g.interrupt(0x80, 0x400002n);
  assert.equal(g.cpu.get('rip'), HANDLER);
  assert.equal(frame(g, 8)[2], 0x402n, '#GP names the vector as an IDT entry');
  const other = await inUserMode();
  other.v.state.traps.address[0x80] = HANDLER + 0x80n;
  other.v.state.traps.flags[0x80] = 3;
  other.interrupt(0x80, 0x400002n);
  assert.equal(other.cpu.get('rip'), HANDLER + 0x80n);
  assert.equal(frame(other, 7)[2], 0x400002n);
});

test('an INT n that is refused is a #GP at the instruction', async () => {
  const g = await createFakeGuest();
  setTrap(g, 13, 0);
  g.cpu.set('rip', HANDLER + 7n);
  g.cpu.set('rsp', STACK);
  g.interrupt(0x90, HANDLER + 9n);
  assert.deepEqual(frame(g, 4).slice(2), [0x90n * 8n + 2n, HANDLER + 7n]);
});

test('a hypercall by SYSCALL leaves the flat segments', async () => {
  const g = await createFakeGuest();
  g.cpu.setSegment('cs', { selector: 0x33, base: 0n, limit: 0xffffffff, attributes: 0x00a0fb00 });
  g.cpu.setSegment('ss', { selector: 0, base: 0n, limit: 0, attributes: 0 });
  g.cpu.mode = 64;
  assert.equal(g.call(17, 0), (4 << 16) | 17);
  assert.equal(g.cpu.segment('cs').selector, 0xe033);
  assert.equal(g.cpu.segment('ss').selector, 0xe02b);
});

test('iret loads the I/O privilege level only with VMASST_TYPE_architectural_iopl, and frames show it only then', async () => {
  const g = await createFakeGuest();
  setTrap(g, 6, 0);
  const back = (flags: bigint) => returnTo(g, { rip: HANDLER, cs: 0xe030n, flags, rsp: STACK, ss: 0xe02bn });
  const shown = () => {
    g.exception({ vector: 6 });
    return (frame(g, 5)[4] >> 12n) & 3n;
  };
  back(IF | 0x3000n);
  assert.equal(g.v.vcpu.state.iopl, 0);
  assert.equal(g.call(21, 0, 4), 0);
  assert.equal(shown(), 0n);
  back(IF | 0x3000n);
  assert.equal(g.v.vcpu.state.iopl, 3);
  assert.equal(shown(), 3n);
  back(IF);
  assert.equal(g.v.vcpu.state.iopl, 0);
  assert.equal(g.call(21, 1, 4), 0);
  back(IF | 0x1000n);
  assert.equal(g.v.vcpu.state.iopl, 0);
});

test('what cannot be delivered ends the guest with a reason', async () => {
  const none = await createFakeGuest();
  none.exception({ vector: 13, code: 0 });
  assert.match(none.cpu.kills[0]!, /exception 13.*no handler/);
  const stack = await createFakeGuest();
  setTrap(stack, 6, 0);
  for (const rsp of [0n, 0xffff800000001000n, 0xffff87fffffffff0n, VIRTUAL_BASE + 0x10000000n, 0x800000000000n]) {
    stack.cpu.kills.length = 0;
    stack.cpu.set('rsp', rsp);
    stack.exception({ vector: 6 });
    assert.match(stack.cpu.kills[0]!, /stack/, `rsp 0x${rsp.toString(16)}`);
  }
});

test('trap tables are checked and may be partial', async () => {
  const g = await createFakeGuest();
  setTrap(g, 3, 3);
  setTrap(g, 4, 0);
  assert.equal(g.v.state.traps.address[3], HANDLER);
  assert.equal(g.v.state.traps.selector[4], 0xe033);
  assert.equal(g.call(0, g.words(5, 0x8000_0000_0000n, 0, 0)), -EINVAL);
  assert.equal(g.call(0, 0x123000n), -14);
  assert.equal(g.call(0, 0), 0);
  assert.equal(g.v.state.traps.address[3], 0n);
});
