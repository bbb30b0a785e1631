/**
 * Has V8 begin to optimise the interpreter's loop, on its own threads, while the machine is still being put together. Until
 * V8 has done so, a loop so large runs at a tenth of its speed. Afterwards the processor and its memory are as they were.
 */
import type { Vcpu } from './vcpu.ts';
import { state } from './x86/state.ts';

/** EB FE. */
const JUMP_TO_ITSELF = [0xeb, 0xfe];
/** Turns of a loop after which V8 is sure to have noticed that it is one. */
const TURNS = 500;

export function warmUp(vcpu: Vcpu): void {
  const { memory, blocks } = vcpu.core;
  vcpu.cpu.set32(state.MODE, 64);
  memory.bytes.set(JUMP_TO_ITSELF);
  for (let entry = 0; entry < 2; entry++) vcpu.enter(0, TURNS); // The first time the block is not there yet.
  memory.bytes.fill(0, 0, JUMP_TO_ITSELF.length);
  blocks.flush();
  vcpu.budget.executed = 0;
}
