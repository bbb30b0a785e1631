/** Fast paths of a hypervisor's own: asked before its op, which answers what they refuse. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bareTable } from '../hypervisors/bare/index.ts';
import { derive } from '../paravirt/derive.ts';
import type { FastPaths } from '../paravirt/fast-paths.ts';
import { traced } from '../paravirt/trace.ts';
import { Engine, type EngineEnvironment } from './engine.ts';
import { cellsOf } from './hypervisor-paths.ts';
import { state } from './x86/state.ts';

const RAM = 1 << 20;
const CODE = 0x1000;
const NEXT = 0x1002n;

/** Adds the first cell to an even RAX; an odd one is for the op. */
const paths: FastPaths = {
  syscall(path, next) {
    const { code } = path;
    path.refuseIf(code.any(path.get('rax'), 1n));
    path.set('rax', code.add(path.get('rax'), code.wide(path.cell(0))));
    path.setCell(1, code.i32(7));
    path.set('rip', next);
    path.count('cpu.syscall', 3);
  },
};

test('a path answers, or refuses and the op is asked; it counts what it answers, and shares cells', () => {
  const engine = new Engine(RAM, { jit: false });
  const { cpu, vcpu, core, memory } = engine;
  let asked = 0;
  const environment = { syscall: () => void asked++, boundary() {}, interruptPending: () => false };
  cpu.environment = engine.environment = environment as unknown as EngineEnvironment;
  memory.copyIn(CODE, Uint8Array.of(0x0f, 0x05));
  cpu.set64(state.EFER, 0x501n);
  cpu.set32(state.SEGMENT_ATTRIBUTES + 4, 0xa09b00);
  cpu.updateMode();
  const cells = new Uint32Array(cpu.words.buffer, cellsOf(0), 2);
  cells[0] = 40;
  core.installPaths(paths);
  vcpu.native = { exceptions: false, syscalls: false, speculation: false };
  const call = (rax: bigint) => {
    cpu.setGpr(0, rax);
    cpu.rip = BigInt(CODE);
    engine.step();
    return { rax: cpu.gpr(0), rip: cpu.rip, asked, count: core.pathCounts[0]!.count };
  };
  assert.deepEqual(call(2n), { rax: 2n, rip: NEXT, asked: 1, count: 0 }, 'not to be asked yet');
  vcpu.paths = core.paths!.answers;
  assert.deepEqual(call(2n), { rax: 42n, rip: NEXT, asked: 1, count: 1 });
  assert.equal(cells[1], 7);
  assert.deepEqual(call(3n), { rax: 3n, rip: NEXT, asked: 2, count: 1 });
  assert.deepEqual(core.pathCounts, [{ operation: 'cpu.syscall', hypercall: 3, count: 1 }]);
});

test('what is traced, or derived from another hypervisor, has none', () => {
  const words = { name: 'toy', title: 'a hypervisor of this test' };
  const toy = derive(bareTable, { ...words, fastPaths: paths });
  assert.equal(toy.fastPaths, paths);
  assert.equal(derive(toy, words).fastPaths, undefined);
  const followed = traced({ ...words, make: () => toy }, () => {});
  assert.equal(followed.make(undefined as never).fastPaths, undefined);
});
