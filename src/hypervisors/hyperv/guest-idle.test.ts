/** HV_X64_MSR_GUEST_IDLE on a machine: whoever reads it with interrupts off goes on when one is pending. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tinyKernel } from '../../conformance/tiny-elf.ts';
import { assemble } from '../../machine/machine.ts';

const MEMORY = 16 << 20;
/** Where the second processor starts, in real mode, and what both share. */
const START = 0x8000;
const FLAG = 0x9000;
const GUEST_IDLE = 0x400000f0;

const u16 = (value: number) => [value & 0xff, (value >> 8) & 0xff];
const u32 = (value: number) => [...u16(value), ...u16(value >>> 16)];
const writeApic = (offset: number, value: number) => [0xc7, 0x05, ...u32(0xfee00000 + offset), ...u32(value)];
const sendTo = (id: number, command: number) => [...writeApic(0x310, id << 24), ...writeApic(0x300, command)];
const START_OTHER = [...sendTo(1, 0x4500), ...sendTo(1, 0x4600 | (START >> 12))];
const [ENABLE_APIC, SEND_SELF] = [writeApic(0xf0, 0x1ff), writeApic(0x300, 0x44040)];
/** One shot of the local APIC's timer with vector 0x41, after 1000 ticks of a 128th of its frequency. */
const START_TIMER = [...writeApic(0x3e0, 0xa), ...writeApic(0x320, 0x41), ...writeApic(0x380, 1000)];
const HLT = 0xf4;
/** mov ecx, GUEST_IDLE; rdmsr */
const IDLE = [0xb9, ...u32(GUEST_IDLE), 0x0f, 0x32];
const setFlag = (value: number) => [0xc7, 0x05, ...u32(FLAG), ...u32(value)];
const await32 = (value: number) => [0x83, 0x3d, ...u32(FLAG), value, 0x74, 0x04, 0xf3, 0x90, 0xeb, 0xf3];
/** mov ecx, 100000; dec ecx; jnz */
const WORK = [0xb9, ...u32(100_000), 0x49, 0x75, 0xfd];

/** In real mode: mov ds, cs; mov word [FLAG], value; WRMSR; RDMSR of GUEST_IDLE. */
const OWN_SEGMENT = [0x8c, 0xc8, 0x8e, 0xd8];
const setFlag16 = (value: number) => [0xc7, 0x06, ...u16(FLAG - START), ...u16(value)];
const writeMsr16 = (index: number, value: number) => [
  ...[0x66, 0xb9, ...u32(index), 0x66, 0xb8, ...u32(value), 0x66, 0x31, 0xd2, 0x0f, 0x30],
];
const IDLE16 = [0x66, ...IDLE];

test('goes on at once if an interrupt is pending already, and else when one comes', async () => {
  for (const source of [SEND_SELF, START_TIMER]) {
    const code = [...ENABLE_APIC, ...source, ...IDLE, ...setFlag(2), HLT];
    const { machine, engine } = await assemble({ kernel: tinyKernel(code), memory: MEMORY, hypervisor: 'hyperv' });
    assert.deepEqual(await machine.run({ instructions: 1000 }), { kind: 'dead-halt' });
    assert.equal(engine.memory.read32(FLAG), 2);
    const waited = machine.statistics.guestTime > 100_000;
    assert.equal(waited, source === START_TIMER);
  }
});

test('a processor without anything to wait for is dead', async () => {
  const { machine, engine } = await assemble({
    kernel: tinyKernel([...IDLE, ...setFlag(2), HLT]),
    memory: MEMORY,
    hypervisor: 'hyperv',
  });
  await machine.run({ timeout: 0.2 });
  assert.equal(engine.memory.read32(FLAG), 0);
});

test("another processor's interrupt ends it, in a machine that goes on from a snapshot, too", async () => {
  const options = { memory: MEMORY, cpus: 2, hypervisor: 'hyperv' };
  // x2APIC mode, enabled; then it idles.
  const second = [...writeMsr16(0x1b, 0xfee00c00), ...writeMsr16(0x80f, 0x1ff), ...setFlag16(1), ...IDLE16];
  const kernel = tinyKernel([...START_OTHER, ...await32(1), ...WORK, ...sendTo(1, 0x4040), ...await32(2), HLT]);
  const { machine, engine } = await assemble({ kernel, ...options });
  engine.memory.copyIn(START, Uint8Array.of(...OWN_SEGMENT, ...second, ...setFlag16(2), HLT));
  assert.deepEqual(await machine.run({ instructions: 100_000 }), { kind: 'stopped' });
  assert.equal(engine.memory.read16(FLAG), 1);
  assert.equal(engine.core.vcpus[1]!.idle, true);
  const restored = await assemble({ snapshot: machine.snapshot(), ...options });
  for (const each of [{ machine, engine }, restored]) {
    assert.deepEqual(await each.machine.run({ instructions: 1_000_000 }), { kind: 'dead-halt' });
    assert.equal(each.engine.memory.read16(FLAG), 2);
  }
});
