/**
 * A processor's state can stand elsewhere, one instruction of it can be allowed a write, and its loop ends whatever faults
 * and traps come.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Exception } from '../paravirt/processor.ts';
import { CR0_AM, CR0_PE, CR0_PG, CR0_WP, CR4_PAE, EFER_LMA, EFER_LME } from '../x86/control.ts';
import { FLAT_CODE_64 } from '../x86/descriptors.ts';
import { AC, RF, TF } from '../x86/flags.ts';
import { PTE_P, PTE_PS, PTE_RW, PTE_US } from '../x86/paging.ts';
import { CS, DS, SS } from '../x86/segments.ts';
import * as vectors from '../x86/vectors.ts';
import { Engine, type EngineEnvironment } from './engine.ts';
import { EngineProcessor } from './processor.ts';
import { debugOffset, setDebug } from './x86/control.ts';
import { ARCHITECTURE, readElement, writeElement } from './x86/registers.ts';
import { setSegment } from './x86/segments.ts';
import { STATE, STATE_SIZE, state } from './x86/state.ts';

const RAM = 2 << 20;
const [ROOT, POINTERS, DIRECTORY, TABLE] = [0x1000, 0x2000, 0x3000, 0x4000];
const CODE = 0x8000;
/** A page that is mapped read-only at PROTECTED. ALIAS is the address of other memory, but has the same entry in the TLB. */
const PAGE = 0x9000;
const PROTECTED = 0x201000n;
const ALIAS = PROTECTED + BigInt(4096 * 4096);
const RAX = 0;
const RBX = 3;
const RSP = 4;
const RSI = 6;
const RDI = 7;

function guest(...code: number[]) {
  const engine = new Engine(RAM, { jit: false, processors: 2 });
  const { cpu, memory } = engine;
  let faults = 0;
  const environment: Partial<EngineEnvironment> = { boundary: () => {}, pageFault: () => ++faults > 0 };
  engine.environment = environment as EngineEnvironment;
  cpu.environment = engine.environment;
  const all = PTE_P | PTE_RW | PTE_US;
  memory.write64(ROOT, BigInt(POINTERS | all));
  memory.write64(POINTERS, BigInt(DIRECTORY | all));
  memory.write64(DIRECTORY, BigInt(all | PTE_PS));
  memory.write64(DIRECTORY + 8, BigInt(TABLE | all));
  memory.write64(DIRECTORY + 8 * Number(ALIAS >> 21n), BigInt(all | PTE_PS));
  memory.write64(TABLE + 8, BigInt(PAGE | PTE_P | PTE_US));
  memory.copyIn(CODE, Uint8Array.from(code));
  cpu.set64(state.CR3, BigInt(ROOT));
  cpu.set64(state.CR4, BigInt(CR4_PAE));
  cpu.set64(state.EFER, BigInt(EFER_LME | EFER_LMA));
  cpu.set64(state.CR0, BigInt((CR0_PG | CR0_WP | CR0_PE) >>> 0));
  cpu.set32(state.SEGMENT_ATTRIBUTES + 4 * CS, FLAT_CODE_64);
  engine.tlb.flushAll();
  cpu.updateMode();
  cpu.updateBank();
  cpu.rip = BigInt(CODE);
  return { engine, cpu, memory, faults: () => faults };
}

test('one instruction may write to a page that is read-only, and the page table is not touched for it', () => {
  const { engine, cpu, memory, faults } = guest(0x48, 0x89, 0x03, 0x48, 0x89, 0x03); // mov [rbx], rax, twice
  cpu.setGpr(RAX, 0x1122334455667788n);
  cpu.setGpr(RBX, PROTECTED + 8n);
  engine.step();
  assert.deepEqual([faults(), cpu.rip], [1, BigInt(CODE)]);
  engine.stepWithWritable(PAGE);
  assert.deepEqual([faults(), cpu.rip], [1, BigInt(CODE + 3)]);
  assert.equal(memory.read64(PAGE + 8), 0x1122334455667788n);
  assert.equal(Number(memory.read64(TABLE + 8)) & PTE_RW, 0);
  engine.step();
  assert.deepEqual([faults(), cpu.rip], [2, BigInt(CODE + 3)], 'the permission has ended');
});

test('… even if its source has the same place in the TLB', () => {
  const { engine, cpu, memory } = guest(0x48, 0xa5); // movsq
  cpu.setGpr(RSI, ALIAS);
  cpu.setGpr(RDI, PROTECTED);
  engine.step();
  engine.stepWithWritable(PAGE);
  assert.equal(cpu.rip, BigInt(CODE + 2));
  assert.equal(memory.read64(PAGE), memory.read64(Number(ALIAS & 0x1fffffn)));
});

test('only the page at the faulting address, and only if it is the one that is meant', () => {
  const { engine, cpu, faults } = guest(0x48, 0x89, 0x03);
  cpu.setGpr(RBX, PROTECTED);
  engine.step();
  assert.throws(() => engine.stepWithWritable(PAGE + 0x1000), /0x201000 does not map 0xa000/);
  cpu.setGpr(RBX, PROTECTED - 4n); // half of it on the page before, which is not there
  engine.stepWithWritable(PAGE);
  assert.deepEqual([faults(), cpu.rip], [2, BigInt(CODE)]);
});

test('a parked processor keeps its registers while another one has its place', () => {
  const { engine, cpu } = guest(0x90);
  const { vcpu } = engine;
  for (const [i, element] of ARCHITECTURE.entries()) writeElement(cpu, element, BigInt(i & 0x7f));
  vcpu.park();
  cpu.bytes.fill(0xee, STATE, STATE + STATE_SIZE);
  for (const [i, element] of ARCHITECTURE.entries())
    assert.equal(readElement(cpu, element), BigInt(i & 0x7f), `${element.name} parked`);
  cpu.set64(state.GPR, 42n);
  vcpu.resume();
  assert.equal(cpu.view.getBigUint64(STATE + state.GPR, true), 42n);
  assert.equal(readElement(cpu, ARCHITECTURE[1]!), 1n);
});

test('a fault that is always dealt with does not hold the processor up for ever', () => {
  const { engine, cpu, faults } = guest(0x48, 0x89, 0x03); // mov [rbx], rax
  cpu.setGpr(RBX, PROTECTED);
  assert.equal(engine.run(100), 'budget');
  assert.ok(faults() >= 100, `${faults()} faults`);
  assert.equal(cpu.rip, BigInt(CODE));
});

test('… nor does code that cannot be fetched, whoever says that he has dealt with it', () => {
  for (const answer of ['pageFault', 'exception'] as const) {
    const { engine, cpu } = guest();
    let asked = 0;
    Object.assign(engine.environment, {
      pageFault: () => answer === 'pageFault' && ++asked > 0,
      exception: () => ++asked > 0,
    });
    cpu.rip = 0x40000000n;
    assert.equal(engine.run(100), 'budget', answer);
    assert.ok(asked >= 100, `${answer}: asked ${asked} times`);
  }
});

test('… nor an interrupt at every boundary', () => {
  const { engine, cpu } = guest(0x90, 0xeb, 0xfd); // nop, and a jump to it
  let asked = 0;
  engine.environment.boundary = () => {
    asked++;
    cpu.rip = BigInt(CODE);
    engine.requestExit();
  };
  while (engine.instructions < 100) engine.run(100);
  assert.ok(asked > 0 && asked <= 101, `asked ${asked} times`);
});

test('a debug exception that leads to itself counts, and ends a halt', () => {
  const { engine, cpu } = guest(0xf4); // hlt
  engine.environment.halt = () => engine.halt();
  const status: bigint[] = [];
  const at: bigint[] = [];
  Object.assign(engine.environment, {
    exception({ vector }: Exception) {
      assert.equal(vector, vectors.DB);
      status.push(cpu.get64(debugOffset(6)));
      at.push(cpu.rip);
      return true; // and RIP stays
    },
  });
  cpu.set64(debugOffset(0), BigInt(CODE));
  setDebug(cpu, 7, 1n);
  assert.equal(engine.run(10), 'budget');
  assert.equal(engine.instructions, 10);
  assert.deepEqual(status, Array(10).fill(0xffff0ff1n));

  status.length = at.length = 0;
  setDebug(cpu, 7, 0n);
  cpu.flags |= TF;
  while (status.length === 0) engine.run(20);
  assert.equal(engine.halted, false);
  assert.equal(status[0], 0xffff4ff0n);
  assert.equal(at[0], BigInt(CODE + 1));
});

test('#AC whose delivery raises #AC does not go on for ever', () => {
  const { engine, cpu, memory } = guest(0xa1, 1, 0, 0, 0); // mov eax, [1]
  const [GDT, IDT, STACK] = [0xa000, 0xb000, 0xc001];
  const code = 0xfb;
  memory.write64(GDT + 8, 0x00cf_fb00_0000_ffffn);
  memory.write64(IDT + 8 * vectors.AC, BigInt(CODE) | (0xbn << 16n) | (0x8e00n << 32n));
  cpu.set64(state.EFER, 0n);
  cpu.set64(state.CR0, BigInt(CR0_PE | CR0_AM));
  cpu.set64(state.GDT_BASE, BigInt(GDT));
  cpu.set32(state.GDT_LIMIT, 15);
  cpu.set64(state.IDT_BASE, BigInt(IDT));
  cpu.set32(state.IDT_LIMIT, 0xff);
  setSegment(cpu, CS, 0xb, 0n, 0xffffffff, 0xc00000 | (code << 8));
  setSegment(cpu, SS, 0xb, 0n, 0xffffffff, 0xc0f300);
  setSegment(cpu, DS, 0xb, 0n, 0xffffffff, 0xc0f300);
  cpu.flags = AC | 2;
  cpu.setCpl(3);
  cpu.updateMode();
  cpu.setGpr(RSP, BigInt(STACK));
  cpu.rip = BigInt(CODE);
  engine.tlb.flushAll();
  assert.equal(engine.run(100), 'budget');
  assert.equal(cpu.get32(state.EXCEPTIONS), 100);
  assert.deepEqual([cpu.rip, cpu.gpr(RSP)], [BigInt(CODE), BigInt(STACK)]);
});

test('interrupts are offered after an exit that the guest or a device has asked for, and not after a debugger’s', () => {
  // mov [rbx], rax; rdtsc; jmp to the next; nops
  const { engine, cpu } = guest(0x48, 0x89, 0x03, 0x0f, 0x31, 0xeb, 0, ...Array(40).fill(0x90));
  const offered: number[] = [];
  engine.environment.boundary = () => offered.push(engine.instructions);
  engine.environment.ticks = () => {
    engine.requestExit(); // a timer is due
    return 0;
  };
  cpu.setGpr(RBX, 0x100n);
  const { core, vcpu } = engine;
  core.setBreakpoints(new Set(), [{ kind: 'write', address: 0x100n, length: 8 }]);
  assert.equal(vcpu.run(40), 'attention');
  assert.deepEqual([engine.instructions, vcpu.exitAsked], [1, false]);
  assert.equal(core.breakpoints.stop?.kind, 'watchpoint');
  core.breakpoints.stop = undefined;
  assert.equal(vcpu.run(40), 'attention');
  assert.equal(vcpu.exitAsked, true);
  assert.deepEqual(offered, [0], 'the watchpoint is none of the guest’s');
  // It is repeated by one for whom the exit came later, at 30.
  const early = engine.instructions;
  assert.ok(early < 30);
  vcpu.boundary = false;
  assert.equal(vcpu.run(30), 'budget');
  vcpu.boundary = true;
  vcpu.run(35);
  assert.deepEqual(offered, [0, 30]);
});

test('RF that a hypervisor loads is gone where no instruction is executed by itself', () => {
  const { engine, cpu } = guest(0x90);
  const processor = new EngineProcessor(engine.vcpu, {} as ConstructorParameters<typeof EngineProcessor>[1]);
  processor.set('flags', BigInt(RF | 2));
  assert.equal(processor.get('flags') & BigInt(RF), 0n);
  setDebug(cpu, 7, 1n);
  processor.set('flags', BigInt(RF | 2));
  assert.equal(processor.get('flags') & BigInt(RF), BigInt(RF), 'with a breakpoint it is for the next instruction');
});
