/** The general registers in the order that instructions number them (SDM 2A table 2-2). */
import type { RegisterName } from '../../paravirt/processor.ts';

export const GENERAL_REGISTERS = 'rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15'.split(
  ' ',
) as readonly RegisterName[];
