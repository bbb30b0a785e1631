/** The fast paths of traps.ts beside transfers.ts, which knows all cases: whatever the guest's tables hold, both do the same. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRandom } from '../../conformance/random.ts';
import type { Exception } from '../../paravirt/processor.ts';
import { TF } from '../../x86/flags.ts';
import { CS, DS, ES, FS, GS, SS, TR } from '../../x86/segments.ts';
import { Engine, type EngineEnvironment } from '../engine.ts';
import { ELEMENTS, readElement } from './registers.ts';
import { state } from './state.ts';

/** All that an instruction leaves behind. FLAT does not count: Cpu.noteSegments brings it up to date when it is needed. */
const COMPARED = ELEMENTS.filter(
  ({ role, field }) =>
    (role === 'architecture' || role === 'derived' || field === 'FAULT' || field === 'FAULT_CODE') && field !== 'FLAT',
);

const RAM = 2 << 20;
/** Physical addresses. All RAM is at 0 for everybody, and at KERNEL for the kernel. */
const [ROOT, POINTERS, DIRECTORY, GDT, IDT, TSS, CODE, FRAME] = [1, 2, 3, 4, 5, 6, 8, 0x10].map(page => page << 12);
const STACK = 0x20000;
const KERNEL = 0x200000n;
const HANDLER = 0xffff800000123456n;
const [KERNEL_CS, KERNEL_SS, USER32_CS, USER_SS, USER_CS] = [0x08, 0x10, 0x1b, 0x23, 0x2b];

type Way = 'syscall' | 'sysret' | 'iret' | 'undefined' | 'page fault';
const BYTES: Record<Way, number[]> = {
  syscall: [0x0f, 0x05],
  sysret: [0x48, 0x0f, 0x07],
  iret: [0x48, 0xcf],
  undefined: [0x0f, 0x0b],
  'page fault': [0x8a, 0x04, 0x25, 0, 0, 0, 0x40], // MOV AL, [0x40000000]
};

interface Case {
  way: Way;
  user: boolean;
  flags: number;
  smap: boolean;
  registers: bigint[];
  /** Written to physical memory; 64-bit words. */
  memory: [address: number, value: bigint][];
  idtLimit: number;
  tssLimit: number;
  sce: boolean;
}

class Guest {
  readonly engine = new Engine(RAM, { jit: false });
  /** Questions that only the slow paths ask. */
  asked = 0;
  tripled = false;
  constructor() {
    const ask = <T>(value: T): T => {
      this.asked++;
      return value;
    };
    const environment: Partial<EngineEnvironment> = {
      get syscall() {
        return ask(undefined); // native
      },
      exception: (_: Exception) => ask(false),
      pageFault: () => ask(false),
      interruptPending: () => ask(false),
      boundary: () => {},
      tripleFault: () => void (this.tripled = true),
    };
    this.engine.environment = environment as EngineEnvironment;
    this.engine.cpu.environment = this.engine.environment;
    Object.values(BYTES).forEach((bytes, i) => this.engine.memory.copyIn(CODE + 16 * i, Uint8Array.from(bytes)));
  }

  /** Executes the case's instruction; what it has left, as text and as bytes of RAM. */
  run(item: Case, fast: boolean): { registers: string; ram: Buffer } {
    const { engine } = this;
    const { cpu, memory } = engine;
    engine.reset();
    memory.bytes.fill(0, 0, CODE);
    memory.bytes.fill(0, CODE + 0x1000, RAM);
    const word = (at: number, value: bigint) => memory.write64(at, BigInt.asUintN(64, value));
    for (const entry of [0, 256]) word(ROOT + 8 * entry, BigInt(POINTERS) | 7n);
    word(POINTERS, BigInt(DIRECTORY) | 7n);
    word(DIRECTORY, 0x87n);
    word(DIRECTORY + 8, 0x83n);
    const descriptors = [
      0n,
      0xaf9b000000ffffn,
      0xcf93000000ffffn,
      0xcffb000000ffffn,
      0xcff3000000ffffn,
      0xaffb000000ffffn,
    ];
    descriptors.forEach((value, i) => word(GDT + 8 * i, value));
    for (const vector of [6, 8, 10, 11, 12, 13, 14]) {
      const type = vector === 14 ? 0x8e00n : 0x8f00n;
      const ist = vector === 8 ? 1n : 0n;
      word(
        IDT + 16 * vector,
        (HANDLER & 0xffffn) | (8n << 16n) | ((type | ist) << 32n) | (((HANDLER >> 16n) & 0xffffn) << 48n),
      );
      word(IDT + 16 * vector + 8, HANDLER >> 32n);
    }
    word(TSS + 4, KERNEL + BigInt(STACK));
    for (let ist = 1; ist <= 7; ist++) word(TSS + 0x1c + 8 * ist, KERNEL + BigInt(STACK + 0x1000 * ist));
    for (const [at, value] of item.memory) word(at, value);

    cpu.set64(state.CR4, 0x620n | (item.smap ? 1n << 21n : 0n));
    cpu.set64(state.EFER, item.sce ? 0xd01n : 0xd00n);
    cpu.set64(state.CR3, BigInt(ROOT));
    cpu.set64(state.CR0, 0x80050033n);
    cpu.set64(state.GDT_BASE, KERNEL + BigInt(GDT));
    cpu.set32(state.GDT_LIMIT, 6 * 8 - 1);
    cpu.set64(state.IDT_BASE, KERNEL + BigInt(IDT));
    cpu.set32(state.IDT_LIMIT, item.idtLimit);
    cpu.set64(state.TR_BASE, KERNEL + BigInt(TSS));
    cpu.set32(state.SEGMENT_LIMIT + 4 * TR, item.tssLimit);
    cpu.set64(state.STAR, (0x1bn << 48n) | (8n << 32n));
    cpu.set64(state.LSTAR, HANDLER);
    cpu.set64(state.FMASK, 0x47700n);
    const segment = (index: number, selector: number, attributes: number) => {
      cpu.set16(state.SELECTOR + 4 * index, selector);
      cpu.set32(state.SEGMENT_LIMIT + 4 * index, selector ? 0xffffffff : 0);
      cpu.set32(state.SEGMENT_ATTRIBUTES + 4 * index, attributes);
    };
    segment(CS, item.user ? USER_CS : KERNEL_CS, item.user ? 0xa0fb00 : 0xa09b00);
    segment(SS, item.user ? USER_SS : KERNEL_SS, item.user ? 0xc0f300 : 0xc09300);
    for (const index of [ES, DS, FS, GS]) segment(index, 0, 0);
    item.registers.forEach((value, i) => cpu.setGpr(i, value));
    cpu.flags = item.flags;
    cpu.setCpl(item.user ? 3 : 0);
    cpu.updateMode();
    cpu.updateUnits();
    engine.tlb.flushAll();
    const place = Object.keys(BYTES).indexOf(item.way) * 16;
    cpu.rip = (item.user ? 0n : KERNEL) + BigInt(CODE + place);

    // SYSRET and IRET leave the fast path to see whether an interrupt is due.
    cpu.set32(state.ATTENTION, fast ? 0 : 1);
    engine.native = { exceptions: fast, syscalls: fast, speculation: fast };
    const { functions } = cpu;
    if (!fast) cpu.functions = { ...functions, deliver: () => 0 };
    this.asked = 0;
    const before = engine.instructions;
    engine.step();
    cpu.functions = functions;

    const fields = COMPARED.map(element => `${element.name} ${readElement(cpu, element).toString(16)}`);
    const last = engine.recent.at(-1)?.replace(/instruction \d+/, '');
    const spent = engine.instructions - before;
    return {
      registers: JSON.stringify({ fields, last, spent, tripled: this.tripled, rip: cpu.rip.toString(16) }),
      ram: Buffer.from(memory.bytes),
    };
  }
}

function ordinary(way: Way, user: boolean): Case {
  const registers = Array.from({ length: 16 }, (_, i) => 0x1111n * BigInt(i));
  registers[1] = 0x12345n; // RCX: where SYSRET goes
  registers[4] = KERNEL + BigInt(FRAME);
  registers[11] = 0x246n;
  const frame = [0x7654n, BigInt(USER_CS), 0x10246n, 0x5000n, BigInt(USER_SS)];
  return {
    way,
    user,
    flags: 0x246,
    smap: true,
    registers,
    memory: frame.map((value, i) => [FRAME + 8 * i, value]),
    idtLimit: 0xfff,
    tssLimit: 0x67,
    sce: true,
  };
}

test('ordinary ways in and out ask nobody', () => {
  const guest = new Guest();
  for (const [way, user] of [
    ['syscall', true],
    ['sysret', false],
    ['iret', false],
  ] as const) {
    guest.run(ordinary(way, user), true);
    assert.equal(guest.asked, 0, way);
  }
  for (const user of [true, false])
    for (const way of ['undefined', 'page fault'] as const) {
      guest.run(ordinary(way, user), true);
      assert.equal(guest.asked, 0, `${way}, ${user ? 'user' : 'kernel'}`);
      assert.equal(guest.engine.cpu.rip, BigInt.asUintN(64, HANDLER));
      assert.equal(guest.engine.cpu.cpl, 0);
    }
});

test('whatever the tables, stacks and flags: with and without the fast paths the same', () => {
  const random = createRandom(4n);
  let guest = new Guest();
  let fast = 0;
  let triple = 0;
  for (let i = 0; i < 400; i++) {
    const way = random.of(Object.keys(BYTES) as Way[]);
    const item = ordinary(way, way === 'syscall' || (way !== 'iret' && way !== 'sysret' && random.below(2) === 1));
    const flip = (value: bigint, bits: number) => value ^ (1n << BigInt(random.below(bits)));
    const once = (odds: number, change: () => void) => void (random.below(odds) === 0 && change());
    item.smap = random.below(2) === 0;
    item.flags = 2 | (random.below(0x400000) & 0x244cd5 & ~TF);
    item.registers[11] = BigInt(random.below(0x400000));
    once(3, () => (item.registers[11]! &= ~BigInt(TF)));
    once(6, () => (item.registers[1] = flip(item.registers[1]!, 64)));
    once(
      4,
      () =>
        (item.registers[4] =
          random.of([0n, KERNEL, BigInt(STACK), 0x4000000000n, 1n << 63n]) + BigInt(random.below(8192))),
    );
    const selectors = [0, 3, KERNEL_CS, KERNEL_SS, USER32_CS, USER_SS, USER_CS, 0x2c, 0x33, 0x2a];
    const frame: [number, bigint][] = [
      [FRAME, random.of([0x7654n, HANDLER, 1n << 47n])],
      [FRAME + 8, BigInt(random.of([USER_CS, USER_CS, USER_CS, KERNEL_CS, KERNEL_CS, ...selectors]))],
      [FRAME + 16, BigInt(random.below(0x400000)) & random.of([~0x100n, -1n])],
      [FRAME + 24, random.next64()],
    ];
    frame.push([
      FRAME + 32,
      BigInt(random.of(frame[1]![1] === BigInt(USER_CS) ? [USER_SS, ...selectors] : [0, KERNEL_SS, ...selectors])),
    ]);
    item.memory = frame;
    once(4, () => {
      const entry = random.of([8, 16, 32, 40]);
      const value = { 8: 0xaf9b000000ffffn, 16: 0xcf93000000ffffn, 32: 0xcff3000000ffffn, 40: 0xaffb000000ffffn }[
        entry
      ]!;
      item.memory.push([GDT + entry, flip(value, 64)]);
    });
    once(3, () => {
      const at = IDT + 16 * (way === 'page fault' ? 14 : 6);
      const type = random.below(2) ? flip(0x8e00n, 16) : 0x8e00n + BigInt(random.below(8));
      item.memory.push([at, (HANDLER & 0xffffn) | (8n << 16n) | (type << 32n) | (((HANDLER >> 16n) & 0xffffn) << 48n)]);
    });
    once(5, () => item.memory.push([TSS + 4, flip(KERNEL + BigInt(STACK), 64)]));
    once(8, () => (item.idtLimit = random.below(0x100)));
    once(8, () => (item.tssLimit = random.below(0x30)));
    once(10, () => (item.sce = false));

    const quick = guest.run(item, true);
    if (guest.asked === 0) fast++;
    if (guest.tripled) guest = new Guest();
    const slow = guest.run(item, false);
    const text = `case ${i}: ${way}`;
    assert.equal(quick.registers, slow.registers, text);
    assert.ok(
      quick.ram.equals(slow.ram),
      `${text}: RAM at 0x${quick.ram.findIndex((byte, at) => byte !== slow.ram[at]).toString(16)}`,
    );
    if (guest.tripled) {
      guest = new Guest();
      triple++;
    }
  }
  assert.ok(fast > 80 && triple > 1, `${fast} fast, ${triple} triple faults`);
});
