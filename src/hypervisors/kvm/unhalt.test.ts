/** A machine whose second processor halts with interrupts off, and whose first one kicks it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tinyKernel } from '../../conformance/tiny-elf.ts';
import { assemble } from '../../machine/machine.ts';

/** Where the second processor starts, in real mode, and what both share. */
const START = 0x8000;
const FLAG = 0x9000;

const u16 = (value: number) => [value & 0xff, (value >> 8) & 0xff];
const u32 = (value: number) => [...u16(value), ...u16(value >>> 16)];
const writeApic = (offset: number, value: number) => [0xc7, 0x05, ...u32(0xfee00000 + offset), ...u32(value)];
const sendTo = (id: number, command: number) => [...writeApic(0x310, id << 24), ...writeApic(0x300, command)];
const START_OTHER = [...sendTo(1, 0x4500), ...sendTo(1, 0x4600 | (START >> 12))];
const HLT = 0xf4;
/** mov ds, cs, by AX: the segment then begins at START. */
const OWN_SEGMENT = [0x8c, 0xc8, 0x8e, 0xd8];
/** mov dword [FLAG], value; in the other's code a word. */
const setFlag = (value: number) => [0xc7, 0x05, ...u32(FLAG), ...u32(value)];
const setFlag16 = (value: number) => [0xc7, 0x06, ...u16(FLAG - START), ...u16(value)];
/** again: cmp dword [FLAG], value; je out; pause; jmp again; and the same with a word. */
const await32 = (value: number) => [0x83, 0x3d, ...u32(FLAG), value, 0x74, 0x04, 0xf3, 0x90, 0xeb, 0xf3];
const await16 = (value: number) => [0x83, 0x3e, ...u16(FLAG - START), value, 0x74, 0x04, 0xf3, 0x90, 0xeb, 0xf5];
/** mov ecx, 100000; dec ecx; jnz */
const WORK = [0xb9, ...u32(100_000), 0x49, 0x75, 0xfd];
/** mov eax, 5; xor ebx, ebx; mov ecx, 1; vmmcall */
const KICK = [0xb8, ...u32(5), 0x31, 0xdb, 0xb9, ...u32(1), 0x0f, 0x01, 0xd9];

for (const [what, first, second] of [
  ['a kick wakes it', [...await32(1), ...WORK, ...KICK], [...setFlag16(1), HLT]],
  [
    'a kick that comes before its HLT lets that fall through',
    [...await32(1), ...KICK, ...setFlag(3)],
    [...setFlag16(1), ...await16(3), HLT],
  ],
] as const)
  test(what, async () => {
    const { machine, engine } = await assemble({
      kernel: tinyKernel([...START_OTHER, ...first, ...await32(2), HLT]),
      memory: 16 << 20,
      cpus: 2,
      hypervisor: 'kvm',
    });
    engine.memory.copyIn(START, Uint8Array.of(...OWN_SEGMENT, ...second, ...setFlag16(2), HLT));
    assert.deepEqual(await machine.run({ instructions: 1_000_000 }), { kind: 'dead-halt' });
    assert.equal(engine.memory.read16(FLAG), 2);
    assert.equal(machine.statistics.hypercalls.KVM_HC_KICK_CPU, 1);
  });
