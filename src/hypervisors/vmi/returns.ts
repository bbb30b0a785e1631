/**
 * IRET's place in the kernel. A kernel patches its returns into calls of the ROM; the first such call has the call
 * itself replaced by the instruction, so that a fault of the instruction (a program can have its return state ruined)
 * is where the kernel's table of remedies has it: arch/x86/kernel/entry_32.S, irq_return.
 */
import type { Processor } from '../../paravirt/processor.ts';
import { PAGE_OFFSET, PAGE_SIZE } from '../../x86/paging.ts';
import type { Call, VmiCallEntry } from './call.ts';

const CALL_REL = 0xe8;
const CALL_LENGTH = 5;
/** IRETD, and NOPs for the rest of the CALL. */
const IRETD = Uint8Array.of(0xcf, 0x90, 0x90, 0x90, 0x90);

/** @param routine where in the ROM's page the code is that is called. */
function replaceCall(cpu: Processor, site: number, routine: number): void {
  const bytes = cpu.read(BigInt(site), CALL_LENGTH);
  if (!bytes || bytes[0] !== CALL_REL) return;
  const target = (site + CALL_LENGTH + new DataView(bytes.buffer).getInt32(1, true)) >>> 0;
  const physical = cpu.translate(BigInt(target), { execute: true });
  if (physical !== routine) return;
  // The kernel's code may be read-only for itself, not for us. A call across two pages stays one.
  const at = cpu.translate(BigInt(site));
  if (typeof at === 'number' && (at & PAGE_OFFSET) + CALL_LENGTH <= PAGE_SIZE && cpu.memory.has(at, CALL_LENGTH))
    cpu.memory.copyIn(at, IRETD);
}

/** @param routine the guest-physical address of the ROM's IRET. */
export function createReturnCalls(routine: number) {
  return {
    IRET: {
      name: 'IRET',
      arguments: ['returnAddress'],
      status: 'done',
      run({ cpu, eax: returnAddress }: Call) {
        replaceCall(cpu, (returnAddress - CALL_LENGTH) >>> 0, routine);
        return undefined;
      },
    },
  } satisfies Record<string, VmiCallEntry>;
}
