/**
 * A PV guest's fast paths beside the ops that they stand for: from whatever state of processor, stacks, descriptors and cells,
 * one instruction with and without them leaves the same behind, in RAM, in registers and in what the hypervisor knows.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseKernel } from '../src/boot/image.ts';
import { FakeProcessor, fakeContext, noFirmware } from '../src/conformance/fake-processor.ts';
import { createRandom } from '../src/conformance/random.ts';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import { ManualClock } from '../src/devices/manual-clock.ts';
import { Engine, type EngineEnvironment } from '../src/engine/engine.ts';
import { TLB_ENTRIES, TLB_ENTRY, TLB_EXECUTE, TLB_READ, TLB_WRITE } from '../src/engine/layout.ts';
import { EngineProcessor } from '../src/engine/processor.ts';
import { ACCESS_EXECUTE, ACCESS_QUIET, ACCESS_WRITE } from '../src/engine/x86/access.ts';
import { ELEMENTS, readElement, writeElement } from '../src/engine/x86/registers.ts';
import { state } from '../src/engine/x86/state.ts';
import { createLog } from '../src/host/log.ts';
import { VMASST_TYPE_architectural_iopl, VMASST_TYPE_m2p_strict } from '../src/hypervisors/xen/constants.ts';
import { DomainSlot } from '../src/hypervisors/xen/domain-slot.ts';
import { LINEAR_ENTRIES, SILENT_PORT } from '../src/hypervisors/xen-pv/cells.ts';
import { createCpu } from '../src/hypervisors/xen-pv/cpu.ts';
import { buildDomain } from '../src/hypervisors/xen-pv/domain-builder.ts';
import { fastPaths } from '../src/hypervisors/xen-pv/fast-paths.ts';
import { createIrq } from '../src/hypervisors/xen-pv/irq.ts';
import { createMmu } from '../src/hypervisors/xen-pv/mmu.ts';
import type { PvDomain } from '../src/hypervisors/xen-pv/pv-domain.ts';
import type { Exception, RegisterName, SegmentName } from '../src/paravirt/processor.ts';

const MEMORY = 8 << 20;
const BASE = 0xffffffff80000000n;
/** Frames that nothing uses, some of them mapped. */
const [CODE, STACK, USER_STACK, GDT, ARGUMENTS] = [0x30, 0x34, 0x38, 0x3c, 0x3e];
/** A slot of the kernel's mapping whose entry changes. */
const ENTRY = 0x70;
const USER_L4 = 0x500;
/** Tables that can become roots: of the kernel, and of programs. */
const OTHER_L4 = 0x501;
const OTHER_USER_L4 = 0x502;
const NO_TABLE = 0x503;
/** MMUEXT_NEW_BASEPTR and MMUEXT_NEW_USER_BASEPTR. */
const NEW_ROOTS = [5, 15] as const;
const at = (frame: number, offset = 0): bigint => BASE + BigInt(frame * 4096 + offset);
const HANDLER = at(0x40, 0x10);
const NOWHERE = 0x4000_0000n;
const SYSCALL = [0x0f, 0x05];
/** MOV AL, [RBX] and MOV [RBX], AL */
const LOAD = [0x8a, 0x03];
const STORE = [0x88, 0x03];
const INSTRUCTIONS = {
  ...{ syscall: SYSCALL, load: LOAD, store: STORE },
  // XCHG RAX, [RBX]; XCHG R9, [R12 + 8]; XCHG RSI, [RBX - 8]; XCHG EAX, [RBX]; XCHG [RBX + RSI], RAX
  ...{ xchg: [0x48, 0x87, 0x03], xchg12: [0x4d, 0x87, 0x4c, 0x24, 8], xchg8: [0x48, 0x87, 0x73, 0xf8] },
  ...{ xchg32: [0x87, 0x03], xchgSum: [0x48, 0x87, 0x04, 0x33] },
  ...{ rdmsr: [0x0f, 0x32], in: [0xe4, 0x42], inOther: [0xe4, 0x61], cli: [0xfa, 0x90] },
};
/** Faults, and what is emulated. */
const EXCHANGES = ['xchg', 'xchg', 'xchg12', 'xchg8', 'xchg32', 'xchgSum'] as const;
const COMPARED = ELEMENTS.filter(
  ({ role, field }) => (role === 'architecture' || role === 'derived' || field === 'FAULT') && field !== 'FLAT',
);
const kernel = parseKernel(tinyKernel([0xf4]));

class Guest {
  readonly engine = new Engine(MEMORY, { jit: false });
  readonly processor: EngineProcessor;
  readonly fake = new FakeProcessor({ memory: 4096 });
  pv!: PvDomain;
  /** Ops that were asked. */
  asked: Record<string, number> = {};
  killed = '';
  ram!: Uint8Array;
  notes!: Uint8Array;
  registers!: [number, bigint][];
  root!: number;

  constructor() {
    const clock = new ManualClock();
    const tsc = { read: () => 0n, at: () => 0n, frequency: 1e9 };
    const kill = (reason: string) => void (this.killed ||= reason);
    this.processor = new EngineProcessor(this.engine.vcpu, { clock, log: createLog(), tsc, kill, request: kill });
  }

  async begin(): Promise<this> {
    const { engine, processor } = this;
    const { cpu } = engine;
    const context = { ...fakeContext(this.fake), cpus: [processor], memory: engine.memory };
    const request = {
      image: await kernel,
      initrd: undefined,
      natively: noFirmware,
      commandLine: '',
      memory: engine.memory,
      log: createLog(),
    };
    const { pv, entry } = buildDomain(request, context);
    this.pv = pv;
    const slot = new DomainSlot<PvDomain>();
    slot.built = pv;
    const count =
      <A extends unknown[], R>(name: string, op: unknown) =>
      (...told: A): R => {
        this.asked[name] = (this.asked[name] ?? 0) + 1;
        return (op as (cpu: EngineProcessor, ...told: A) => R)(processor, ...told);
      };
    const irq = createIrq(context, slot);
    const environment: Partial<EngineEnvironment> = {
      syscall: count('cpu.syscall', createCpu(context, slot).syscall),
      pageFault: count('mmu.pageFault', createMmu(context, slot).pageFault),
      exception: count<[Exception], boolean>('irq.exception', irq.exception),
      interruptPending: () => false,
      boundary() {},
      tripleFault() {},
    };
    engine.environment = environment as EngineEnvironment;
    cpu.environment = engine.environment;
    for (const name of ['efer', 'cr4', 'cr3', 'cr0'] as const) processor.set(name, entry.registers[name]!);
    for (const [name, value] of Object.entries(entry.registers)) processor.set(name as RegisterName, value!);
    for (const [name, value] of Object.entries(entry.segments)) processor.setSegment(name as SegmentName, value!);
    processor.switchRoot(entry.registers.cr3!);
    engine.vcpu.native = { exceptions: false, syscalls: false, speculation: false };
    engine.core.installPaths(fastPaths);
    this.#prepare();
    this.ram = engine.memory.bytes.slice();
    this.notes = engine.memory.notes.slice();
    this.root = pv.vcpus[0]!.kernelRoot;
    this.registers = ELEMENTS.flatMap((element, i) =>
      element.role === 'architecture' ? [[i, readElement(cpu, element)] as [number, bigint]] : [],
    );
    return this;
  }

  /** A GDT, a root for programs, and entry points. */
  #prepare(): void {
    const { pv, engine } = this;
    const { memory } = engine;
    const v = pv.vcpus[0]!;
    Object.values(INSTRUCTIONS).forEach((bytes, i) => memory.copyIn(CODE * 4096 + 16 * i, Uint8Array.from(bytes)));
    const { kernelRoot } = v;
    memory.copyIn(USER_L4 * 4096, memory.copyOut(kernelRoot * 4096, 2048));
    memory.write64(USER_L4 * 4096 + 511 * 8, memory.read64(kernelRoot * 4096 + 511 * 8));
    for (const frame of [OTHER_L4, OTHER_USER_L4]) memory.copyIn(frame * 4096, memory.copyOut(USER_L4 * 4096, 4096));
    // Each is pinned, as it were, and those that are roots are used, too.
    for (const frame of [kernelRoot, USER_L4, OTHER_L4, OTHER_USER_L4]) assert.equal(pv.types.get(frame, 4), 0);
    pv.types.get(USER_L4, 4);
    for (const frame of [USER_L4, OTHER_USER_L4]) memory.write64(frame * 4096 + 256 * 8, 0n);
    memory.write64(OTHER_L4 * 4096 + 256 * 8, memory.read64(kernelRoot * 4096 + 256 * 8));
    v.state.traps.address[14] = HANDLER;
    v.state.syscall64.address = HANDLER + 64n;
    v.state.gdtFrames = [GDT];
    v.state.gdtEntries = 8;
    v.userRoot = USER_L4;
    for (const [i, value] of [0n, 0n, 0xaffb000000ffffn, 0xcff3000000ffffn, 0xcffb000000ffffn].entries())
      memory.write64(GDT * 4096 + 8 * i, value);
    pv.area.setGdtPage(0, 0, GDT);
    v.state.cells = v.state.cells.slice();
    v.attach();
  }

  /** Does `change`, which makes a state, then one instruction; what it has left. */
  run(change: (guest: Guest) => Setting, fast: boolean): Outcome {
    const { engine, pv } = this;
    const { cpu, memory, vcpu } = engine;
    memory.bytes.set(this.ram);
    memory.notes.set(this.notes);
    for (const [i, value] of this.registers) writeElement(cpu, ELEMENTS[i]!, value);
    const v = pv.vcpus[0]!;
    v.inKernel = true;
    v.kernelRoot = this.root;
    this.killed = '';
    this.asked = {};
    engine.tlb.flushAll();
    v.loadRoot();
    const before = engine.core.pathCounts;
    const { kind, instruction, warm } = change(this);
    v.state.cells = v.state.cells.slice();
    v.attach();
    // What the TLB has of the kernel's stack, and of what the instruction itself is: all, or less.
    const { inKernel } = v;
    for (const [root, linear, access] of warm) {
      this.processor.switchRoot(BigInt(root) << 12n);
      cpu.functions.walk(linear, access | ACCESS_QUIET);
    }
    v.inKernel = inKernel;
    v.loadRoot();
    cpu.rip = at(CODE, 16 * Object.keys(INSTRUCTIONS).indexOf(instruction));
    vcpu.paths = { exceptions: fast, syscalls: fast };
    const executed = engine.instructions;
    engine.step();
    const held = cpu.get32(state.TLB_BASE) + Number((at(ENTRY) >> 12n) % BigInt(TLB_ENTRIES)) * TLB_ENTRY;
    const asked = { ...this.asked };
    let answered = 0;
    for (const [i, { operation, count }] of engine.core.pathCounts.entries()) {
      const more = count - before[i]!.count;
      if (more) asked[operation] = (asked[operation] ?? 0) + more;
      answered += more;
    }
    return {
      answered,
      kind,
      ram: Buffer.concat([memory.bytes, memory.notes]),
      text: JSON.stringify(
        {
          fields: COMPARED.map(element => `${element.name} ${readElement(cpu, element).toString(16)}`),
          rip: cpu.rip.toString(16),
          flags: cpu.flags.toString(16),
          spent: engine.instructions - executed,
          deliveries: cpu.get32(state.DELIVERIES) > 0,
          last: engine.recent.at(-1)?.replace(/instruction \d+/, ''),
          killed: this.killed,
          asked: Object.entries(asked).sort(),
          xen: v.state,
          space: engine.tlb.space,
          translation: [TLB_READ, TLB_WRITE, TLB_EXECUTE].map(tag => cpu.view.getBigUint64(held + tag, true)),
          iopl: v.vcpu.state.iopl,
        },
        (_, value) => (typeof value === 'bigint' ? value.toString(16) : value),
        1,
      ),
    };
  }
}

interface Setting {
  kind: string;
  instruction: keyof typeof INSTRUCTIONS;
  warm: [root: number, linear: bigint, access: number][];
}
interface Outcome {
  /** Ops that fast paths have answered. */
  answered: number;
  kind: string;
  ram: Buffer;
  text: string;
}

type Random = ReturnType<typeof createRandom>;

/** A state that is ordinary but for what the dice say. */
function settingOf(random: Random): (guest: Guest) => Setting {
  const odds = (n: number) => random.below(n) === 0;
  const kind = random.of([
    'system call',
    'iret',
    'stack_switch',
    'set_segment_base',
    'mmuext_op',
    'new roots',
    'new roots',
    'mmu_update',
    'mmu_update',
    'update_va_mapping',
    'update_va_mapping',
    'load',
    'load',
    'store',
    ...['exchange', 'exchange', 'exchange', 'rdmsr', 'rdmsr', 'in', 'in'],
  ] as const);
  const isExchange = kind === 'exchange';
  const instruction = {
    ...{ load: 'load', store: 'store', exchange: random.of(EXCHANGES) },
    ...{ rdmsr: random.of(['rdmsr', 'rdmsr', 'cli']), in: random.of(['in', 'in', 'inOther']) },
  }[kind as string] as keyof typeof INSTRUCTIONS | undefined;
  const user = kind === 'system call' || (instruction && random.below(isExchange ? 10 : 2) === 0);
  const flags = BigInt(2 | 0x200 | (random.below(0x400000) & 0x40cd5));
  const registers: [RegisterName, bigint][] = (
    ['rax', 'rcx', 'rdx', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11'] as const
  ).map(name => [name, random.next64()]);
  const sp = odds(6)
    ? random.of([at(STACK, 8), at(STACK, 4096 + 20), NOWHERE, 1n << 62n, XEN, 0n])
    : at(STACK, 0x800 + random.below(1024));
  const rsp = odds(8)
    ? random.of([at(STACK, 4072), NOWHERE, XEN + 64n, at(USER_STACK, 3)])
    : at(USER_STACK, 8 * random.below(400));
  const bits = [random.below(3) === 0 ? 1 : 0, random.below(2)];
  const masks = [odds(2), odds(3)];
  const noHandler = odds(12) ? random.of([0n, 1n << 47n]) : undefined;
  const nmi = odds(12);
  const assist = odds(2);
  const strict = odds(2);
  const slot256 = odds(2);
  const iopl = odds(2) ? random.below(4) : 0;
  const userRoot = odds(8) ? 0 : USER_L4;
  const cold = odds(6) ? random.below(4) : -1;
  const descriptor: [number, bigint] | undefined = odds(4)
    ? [random.of([2, 3]), random.of([0xaffb000000ffffn, 0xcff3000000ffffn]) ^ (1n << BigInt(random.below(64)))]
    : undefined;
  const address = odds(6)
    ? random.of([XEN, XEN + 0x20000010000n, at(CODE), 1n << 50n])
    : NOWHERE + BigInt(random.below(8192));
  const [base, which] = [
    random.of([0n, random.next64(), BigInt(random.below(1 << 20)) << 16n, at(3)]),
    BigInt(random.below(6)),
  ];
  const flush = [
    odds(3) ? random.below(24) : random.of([6, 7, 10, 11]),
    odds(6) ? random.below(4) : 1,
    odds(8) ? 1 : 0,
    odds(6) ? random.below(1 << 20) : 0x7ff0,
  ];
  const linear = odds(6) ? 1 : 0;
  const frameOf = () => BigInt(random.of([0x520, 0x521, 0x522, STACK, USER_L4, 0x7ff, 0x2000]));
  const entry = () =>
    (frameOf() << 12n) |
    BigInt(random.below(4096) & (odds(6) ? -1 : ~0x98)) |
    (odds(4) ? 0n : 1n) |
    BigInt.asUintN(64, BigInt(odds(4) ? random.below(8) : 0) << 52n);
  // What is there is one that has been accepted.
  const before = odds(3) ? 0n : (BigInt(random.of([0x520, 0x521])) << 12n) | BigInt(0x65 | (random.below(2) << 1));
  const entries = [before, odds(4) ? before ^ (1n << BigInt(random.below(12))) : entry()];
  const command = odds(5) ? random.below(8) : random.of([0, 2]);
  const wrongTable = odds(8);
  const random3 = odds(4) ? random.below(12) : random.below(3);
  const pair = odds(8) ? random.below(4) : 2;
  const roots = [NEW_ROOTS[0], OTHER_L4, NEW_ROOTS[1], OTHER_USER_L4].map((word, i) => {
    if (i % 2 === 0) return BigInt(odds(8) ? random.below(20) : word);
    return BigInt(odds(6) ? random.of([OTHER_L4, OTHER_USER_L4, USER_L4, 0, 0, 0x2000]) : word);
  });
  const given = odds(4) ? random.of([before, before | 1n, before & ~1n, entry()]) : 0n;
  const view = [odds(8) ? random.below(0x80) : 0x60, odds(8) ? random.below(8) : 0];
  const msr = odds(3) ? random.of([0xc0000100n, 0xc0000101n, 0x10n, 0x1bn]) : 0xc0000102n;
  const silent = odds(4) ? random.below(256) : 0x43;
  const selectors = random.below(3)
    ? [random.of([0x10, 0x13, 0xe033]), random.of([0x18, 0x1b, 0xe02b])]
    : [random.below(0x48), random.below(0x48)];
  const loaded = random.below(0x400000) & (odds(5) ? -1 : ~0x3100);
  const frame = [
    random.next64(),
    random.next64(),
    random.next64(),
    BigInt(random.of([0, 0x100])),
    odds(10) ? 1n << 47n : at(CODE, random.below(4096)),
    BigInt(selectors[0]!),
    BigInt(loaded),
    random.next64(),
    BigInt(selectors[1]!),
  ];
  return guest => {
    const { pv, processor, engine } = guest;
    const { memory } = engine;
    const v = pv.vcpus[0]!;
    for (const [name, value] of registers) processor.set(name, value);
    processor.set('rbx', address);
    processor.set('rsp', rsp);
    processor.set('gsBase', at(1));
    processor.set('kernelGsBase', at(2));
    processor.set('flags', flags);
    v.kernelSp = sp;
    v.userRoot = userRoot || (user ? USER_L4 : 0);
    v.state.syscall64.address = noHandler ?? HANDLER + 64n;
    v.state.traps.address[14] = noHandler ?? HANDLER;
    v.state.syscall64.maskEvents = masks[0]!;
    v.state.traps.flags[14] = masks[1] ? 4 : 0;
    v.state.nmiBlocked = nmi;
    v.vcpu.state.iopl = iopl;
    v.vcpu.domain.state.assists.clear();
    if (assist) v.vcpu.domain.state.assists.add(VMASST_TYPE_architectural_iopl);
    if (strict) v.vcpu.domain.state.assists.add(VMASST_TYPE_m2p_strict);
    v.inKernel = !user;
    memory.write8(v.vcpu.info, bits[0]!);
    memory.write8(v.vcpu.info + 1, bits[1]!);
    if (descriptor) memory.write64(GDT * 4096 + 8 * descriptor[0], descriptor[1]);
    const number = {
      iret: 23n,
      stack_switch: 3n,
      set_segment_base: 25n,
      mmuext_op: 26n,
      'new roots': 26n,
      mmu_update: 1n,
      update_va_mapping: 14n,
    }[kind as string];
    if (number !== undefined) processor.set('rax', number);
    if (kind === 'set_segment_base') {
      processor.set('rdi', which);
      processor.set('rsi', base);
    }
    v.state.cells[LINEAR_ENTRIES] = 0;
    if (kind === 'mmuext_op') {
      processor.set('rdi', at(ARGUMENTS, 8));
      processor.set('rsi', BigInt(flush[1]!));
      processor.set('rdx', flush[2] ? at(ARGUMENTS, 64) : 0n);
      processor.set('r10', BigInt(flush[3]!));
      memory.write64(ARGUMENTS * 4096 + 8, BigInt(flush[0]!));
      memory.write64(ARGUMENTS * 4096 + 16, at(CODE));
      v.state.cells[LINEAR_ENTRIES] = linear;
    }
    if (slot256) memory.write64(OTHER_USER_L4 * 4096 + 256 * 8, memory.read64(OTHER_L4 * 4096 + 256 * 8));
    if (kind === 'new roots') {
      processor.set('rdi', at(ARGUMENTS, 8));
      processor.set('rsi', BigInt(pair));
      processor.set('rdx', flush[2] ? at(ARGUMENTS, 64) : 0n);
      processor.set('r10', BigInt(flush[3]!));
      for (const [i, word] of [roots[0]!, roots[1]!, 0n, roots[2]!, roots[3]!, 0n].entries())
        memory.write64(ARGUMENTS * 4096 + 8 + 8 * i, word);
    }
    const { table } = pv.updates.walk(v.kernelRoot, Number(BigInt.asUintN(36, at(0) >> 12n)))!;
    const slot = table * 4096 + 8 * ENTRY;
    memory.write64(slot, entries[0]! & 1n ? (entries[0]! & ~0x98n) | 4n : entries[0]!);
    if (entries[0]! & 1n) pv.types.getL1(Number(entries[0]! & 0xffffff67n), 0);
    if (isExchange) {
      const shown = at(table, 8 * ENTRY + view[1]!);
      processor.set('rbx', instruction === 'xchg8' ? shown + 8n : instruction === 'xchgSum' ? shown - 5n : shown);
      processor.set('r12', shown - 8n);
      for (const name of ['rax', 'r9', 'rsi'] as const) processor.set(name, given);
      if (instruction === 'xchgSum') processor.set('rsi', 5n);
      // How the guest sees the table: accessed and dirty, as a rule.
      const mapping = pv.updates.walk(v.kernelRoot, Number(BigInt.asUintN(36, at(table) >> 12n)))!;
      const place = mapping.table * 4096 + 8 * mapping.index;
      memory.write64(place, memory.read64(place) | BigInt(view[0]! & 0x60));
    }
    if (kind === 'rdmsr') processor.set('rcx', msr);
    if (kind === 'in') v.state.cells[SILENT_PORT] = silent;
    if (kind === 'mmu_update') {
      processor.set('rdi', at(ARGUMENTS, 8));
      processor.set('rsi', BigInt(flush[1]!));
      processor.set('rdx', flush[2] ? at(ARGUMENTS, 64) : 0n);
      processor.set('r10', BigInt(flush[3]!));
      memory.write64(ARGUMENTS * 4096 + 8, BigInt((wrongTable ? NO_TABLE * 4096 : slot) + command));
      memory.write64(ARGUMENTS * 4096 + 16, entries[1]!);
    }
    if (kind === 'update_va_mapping') {
      processor.set('rdi', wrongTable ? address : at(ENTRY));
      processor.set('rsi', entries[1]!);
      processor.set('rdx', BigInt(random3));
    }
    if (kind === 'iret') {
      const offset = Number(rsp - BASE);
      if (offset > 0 && offset < MEMORY - 4096)
        for (const [i, word] of frame.entries()) memory.write64(offset + 8 * i, word);
    }
    const warm: Setting['warm'] = [];
    if (cold !== 0) warm.push([v.kernelRoot, sp - 1n, ACCESS_WRITE]);
    if (cold !== 1 && rsp !== NOWHERE) warm.push([v.kernelRoot, rsp - 1n, ACCESS_WRITE], [v.kernelRoot, rsp, 0]);
    if (cold !== 3) warm.push([v.kernelRoot, at(ARGUMENTS), 0]);
    warm.push([v.kernelRoot, at(ENTRY), 0]);
    if (cold !== 2 && userRoot) warm.push([USER_L4, at(CODE), 0]);
    if (cold !== 1) warm.push([v.kernelRoot, at(CODE), ACCESS_EXECUTE]);
    if (kind === 'new roots' && cold !== 2) warm.push([OTHER_L4, at(CODE), 0]);
    return { kind: instruction ?? kind, instruction: instruction ?? 'syscall', warm };
  };
}
const XEN = 0xffff800000000000n;

test('ordinary cases are answered, and from any state the same is left with and without the fast paths', async () => {
  const [one, other] = [await new Guest().begin(), await new Guest().begin()];
  const random = createRandom(17n);
  const answered = new Map<number, number>();
  const kinds = new Map<string, number>();
  for (let i = 0; i < 1000; i++) {
    const setting = settingOf(random);
    const quick = one.run(setting, true);
    const slow = other.run(setting, false);
    assert.equal(slow.answered, 0);
    assert.equal(quick.text, slow.text, `case ${i}`);
    const differs = quick.ram.compare(slow.ram) === 0 ? -1 : quick.ram.findIndex((byte, n) => byte !== slow.ram[n]);
    assert.equal(differs, -1, `case ${i}: RAM at 0x${differs.toString(16)}`);
    answered.set(quick.answered, (answered.get(quick.answered) ?? 0) + 1);
    if (quick.answered > 0) kinds.set(quick.kind, (kinds.get(quick.kind) ?? 0) + 1);
  }
  for (const { operation, hypercall, count } of one.engine.core.pathCounts)
    assert.ok(count > 2, `${operation} ${hypercall}: ${count} answered`);
  for (const kind of ['load', 'store', 'xchg', 'xchg12', 'xchg8', 'rdmsr', 'in', 'new roots', 'system call', 'iret'])
    assert.ok(kinds.get(kind)! > 2, `${kind}: ${JSON.stringify([...kinds])}`);
  // A system call or a hypercall is one op, a page fault two.
  assert.ok(answered.get(1)! > 30 && answered.get(2)! > 15, JSON.stringify([...answered]));
});
