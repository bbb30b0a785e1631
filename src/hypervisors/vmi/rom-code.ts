/**
 * How each call is answered: natively (the kernel keeps its own instruction), by nothing, or by code of the ROM that is
 * called or jumped to. Arguments arrive in EAX, EDX, ECX and on the stack; results leave in EAX or EDX:EAX; EAX, ECX,
 * EDX and the flags may be changed. The ROM runs wherever the kernel maps it, so its code finds itself by CALL and POP.
 */
import { native, nothing } from '../../paravirt/native.ts';
import type { Assembler } from './assembler.ts';
import { type CallName, numberOf, type PrivateCallName } from './calls.ts';
import { QUEUE_CAPACITY, UPDATE, UPDATE_SHIFT } from './shared-page.ts';

export type Answer = typeof native | typeof nothing | Code;
export interface Code {
  how: 'call' | 'jump';
  emit(asm: Assembler): void;
}

type Lines = readonly (readonly [code: string, text: string])[];

function emitLines(asm: Assembler, lines: Lines): void {
  for (const [code, text] of lines) asm.line(code, text);
}

/** A few instructions and RET. */
function instructions(...lines: Lines): Code {
  return { how: 'call', emit: asm => emitLines(asm, [...lines, ['c3', 'ret']]) };
}

const POP_EBX = ['5b', 'pop ebx'] as const;

/**
 * The hypervisor is asked by VMCALL: the call's number in EAX, what was in EAX in EBX, the rest where it was. It may
 * change EAX and EDX; call.ts is the other side. EBX's own value is on the stack.
 */
const ask = (name: CallName | PrivateCallName): Lines => [
  ['53', 'push ebx'],
  ['89 c3', 'mov ebx, eax'],
  [`b8 =${numberOf(name)}`, `mov eax, ${numberOf(name)}`],
  ['0f 01 c1', 'vmcall'],
];
/** The same with EAX as it was afterwards. */
const askKeeping = (name: CallName | PrivateCallName): Lines => [...ask(name), ['89 d8', 'mov eax, ebx'], POP_EBX];

export function emitHypercall(asm: Assembler, name: CallName | PrivateCallName): void {
  emitLines(asm, [...ask(name), POP_EBX, ['c3', 'ret']]);
}

function hypercall(name: CallName): Code {
  return { how: 'call', emit: asm => emitHypercall(asm, name) };
}

/** The hypervisor only looks at the arguments, and the instruction follows. */
function checked(name: CallName, ...lines: Lines): Code {
  return instructions(...askKeeping(name), ...lines);
}

/** Makes EBX the address of label `here` (which this defines), with EBX's own value on the stack. */
function emitFindSelf(asm: Assembler, here: string): void {
  emitLines(asm, [
    ['53', 'push ebx'],
    [`e8 >>${here}`, `call ${here}`],
  ]);
  asm.label(here);
  asm.line(...POP_EBX);
}

/** An instruction before which the deferred page-table updates must have been made. */
function afterUpdates(name: CallName, ...lines: Lines): Code {
  return {
    how: 'call',
    emit(asm) {
      const here = `${name}.here`;
      emitFindSelf(asm, here);
      emitLines(asm, [
        [`83 bb [count-${here}] 00`, `cmp dword ptr [ebx + count - ${here}], 0`],
        POP_EBX,
        [`74 >${name}.do`, `je ${name}.do`],
        ...askKeeping('ApplyDeferred'),
      ]);
      asm.label(`${name}.do`);
      emitLines(asm, lines);
      asm.line('c3', 'ret');
    },
  };
}

/**
 * SetPxE and SetPxELong: in lazy mode, an entry in the first linear mapping is put on the queue, with interrupts off so
 * that no handler's update gets the same place; all else goes to the hypervisor.
 * @param entry the register with the entry's address
 */
function setEntry(name: CallName, entry: 'edx' | 'ecx', size: 4 | 8): Code {
  const here = `${name}.here`;
  const toQueue = (offset: number) => `[queue${offset}-${here}]`;
  const at = (offset: number) => `[edi + queue${offset} - ${here}]`;
  return {
    how: 'call',
    emit(asm) {
      emitFindSelf(asm, here);
      emitLines(asm, [
        [`83 bb [mode-${here}] 01`, `cmp dword ptr [ebx + mode - ${here}], 1`],
        [`75 >${name}.direct`, `jne ${name}.direct`],
        ['56', 'push esi'],
        entry === 'edx' ? ['89 d6', 'mov esi, edx'] : ['89 ce', 'mov esi, ecx'],
        [`2b b3 [slotStart-${here}]`, `sub esi, [ebx + slotStart - ${here}]`],
        [`3b b3 [slotSize-${here}]`, `cmp esi, [ebx + slotSize - ${here}]`],
        [`73 >${name}.elsewhere`, `jae ${name}.elsewhere`],
        ['57', 'push edi'],
        ['9c', 'pushfd'],
        ['fa', 'cli'],
        [`8b bb [count-${here}]`, `mov edi, [ebx + count - ${here}]`],
        [`81 ff =${QUEUE_CAPACITY}`, `cmp edi, ${QUEUE_CAPACITY}`],
        [`73 >${name}.full`, `jae ${name}.full`],
        [`c1 e7 0${UPDATE_SHIFT}`, `shl edi, ${UPDATE_SHIFT}`],
        ['01 df', 'add edi, ebx'],
        [`89 b7 ${toQueue(UPDATE.offset)}`, `mov ${at(UPDATE.offset)}, esi`],
        [`c7 87 ${toQueue(UPDATE.size)} =${size}`, `mov dword ptr ${at(UPDATE.size)}, ${size}`],
        [`89 87 ${toQueue(UPDATE.low)}`, `mov ${at(UPDATE.low)}, eax`],
        ...(size === 8
          ? ([[`89 97 ${toQueue(UPDATE.high)}`, `mov ${at(UPDATE.high)}, edx`]] as const)
          : ([[`c7 87 ${toQueue(UPDATE.high)} =0`, `mov dword ptr ${at(UPDATE.high)}, 0`]] as const)),
        [`ff 83 [count-${here}]`, `inc dword ptr [ebx + count - ${here}]`],
        ['9d', 'popfd'],
        ['5f', 'pop edi'],
        ['5e', 'pop esi'],
        POP_EBX,
        ['c3', 'ret'],
      ]);
      asm.label(`${name}.full`);
      emitLines(asm, [
        ['9d', 'popfd'],
        ['5f', 'pop edi'],
      ]);
      asm.label(`${name}.elsewhere`);
      asm.line('5e', 'pop esi');
      asm.label(`${name}.direct`);
      asm.line(...POP_EBX);
      emitHypercall(asm, name);
    },
  };
}

/** Notes the mode; what was deferred before is applied. Modes do not nest, so every change is an end. */
const setLazyMode: Code = {
  how: 'call',
  emit(asm) {
    emitLines(asm, [
      ['83 f8 02', 'cmp eax, 2'],
      ['77 >SetLazyMode.unknown', 'ja SetLazyMode.unknown'],
    ]);
    emitFindSelf(asm, 'SetLazyMode.here');
    emitLines(asm, [
      ['89 83 [mode-SetLazyMode.here]', 'mov [ebx + mode - SetLazyMode.here], eax'],
      ['83 bb [count-SetLazyMode.here] 00', 'cmp dword ptr [ebx + count - SetLazyMode.here], 0'],
      POP_EBX,
      ['75 >SetLazyMode.unknown', 'jne SetLazyMode.unknown'],
      ['c3', 'ret'],
    ]);
    // The hypervisor is asked either way, and tells the two apart.
    asm.label('SetLazyMode.unknown');
    emitHypercall(asm, 'SetLazyMode');
  },
};

/** Bit 0: this address space; bit 1: global pages as well, which toggling CR4.PGE does (SDM 3A 4.10.4.1). */
const flushTlb = afterUpdates(
  'FlushTLB',
  ['a8 02', 'test al, 2'],
  ['74 >FlushTLB.local', 'je FlushTLB.local'],
  ['0f 20 e0', 'mov eax, cr4'],
  ['a8 80', 'test al, 0x80'],
  ['74 >FlushTLB.local', 'je FlushTLB.local'],
  ['89 c2', 'mov edx, eax'],
  ['83 e2 7f', 'and edx, 0x7f'],
  ['0f 22 e2', 'mov cr4, edx'],
  ['0f 22 e0', 'mov cr4, eax'],
  ['c3', 'ret'],
);

/** One of the debug registers, by a number in EAX; 4 and 5 are other names of 6 and 7 (SDM 3B 17.2.2). */
function debugRegister(name: CallName, move: (register: number) => readonly [string, string]): Code {
  return {
    how: 'call',
    emit(asm) {
      for (const register of [0, 1, 2, 3, 6, 7])
        emitLines(asm, [
          [`83 f8 0${register}`, `cmp eax, ${register}`],
          [`74 >${name}.${register}`, `je ${name}.${register}`],
        ]);
      emitHypercall(asm, name);
      for (const register of [0, 1, 2, 3, 6, 7]) {
        asm.label(`${name}.${register}`);
        emitLines(asm, [move(register), ['c3', 'ret']]);
      }
    },
  };
}

/** The byte that names a debug register and a general one (SDM 2A 2.1.5). */
const modrm = (register: number, general: number): string =>
  (0xc0 | (register << 3) | general).toString(16).padStart(2, '0');

export const answers: Readonly<Record<CallName, Answer>> = {
  CPUID: instructions(['0f a2', 'cpuid']),
  WRMSR: instructions(['0f 30', 'wrmsr']),
  RDMSR: instructions(['0f 32', 'rdmsr']),
  SetGDT: instructions(['0f 01 10', 'lgdt [eax]']),
  SetLDT: checked('SetLDT', ['0f 00 d0', 'lldt ax']),
  SetIDT: instructions(['0f 01 18', 'lidt [eax]']),
  SetTR: checked('SetTR', ['0f 00 d8', 'ltr ax']),
  GetGDT: instructions(['0f 01 00', 'sgdt [eax]']),
  GetLDT: instructions(['0f 00 c0', 'sldt eax']),
  GetIDT: instructions(['0f 01 08', 'sidt [eax]']),
  GetTR: instructions(['0f 00 c8', 'str eax']),
  WriteGDTEntry: hypercall('WriteGDTEntry'),
  WriteLDTEntry: hypercall('WriteLDTEntry'),
  WriteIDTEntry: hypercall('WriteIDTEntry'),
  UpdateKernelStack: hypercall('UpdateKernelStack'),

  SetCR0: instructions(['0f 22 c0', 'mov cr0, eax']),
  SetCR2: instructions(['0f 22 d0', 'mov cr2, eax']),
  SetCR3: afterUpdates('SetCR3', ['0f 22 d8', 'mov cr3, eax']),
  SetCR4: instructions(['0f 22 e0', 'mov cr4, eax']),
  GetCR0: instructions(['0f 20 c0', 'mov eax, cr0']),
  GetCR2: instructions(['0f 20 d0', 'mov eax, cr2']),
  GetCR3: instructions(['0f 20 d8', 'mov eax, cr3']),
  GetCR4: instructions(['0f 20 e0', 'mov eax, cr4']),
  WBINVD: instructions(['0f 09', 'wbinvd']),
  SetDR: debugRegister('SetDR', n => [`0f 23 ${modrm(n, 2)}`, `mov dr${n}, edx`]),
  GetDR: debugRegister('GetDR', n => [`0f 21 ${modrm(n, 0)}`, `mov eax, dr${n}`]),
  RDPMC: instructions(['0f 33', 'rdpmc']),
  RDTSC: instructions(['0f 31', 'rdtsc']),
  CLTS: instructions(['0f 06', 'clts']),

  // A kernel drops what it saved around these when it patches them in: they change no other register. Nor may they,
  // IRET and SYSEXIT use DS and ES, which may be the user's.
  EnableInterrupts: instructions(['fb', 'sti']),
  DisableInterrupts: instructions(['fa', 'cli']),
  GetInterruptMask: instructions(['9c', 'pushfd'], ['58', 'pop eax']),
  SetInterruptMask: instructions(['50', 'push eax'], ['9d', 'popfd']),
  // An IRET that faults must do so in the kernel, which has a remedy for that place alone. So it is called rather than
  // jumped to: the return address tells the hypervisor where the kernel's is, and what is there becomes an IRET
  // (returns.ts).
  IRET: {
    how: 'call',
    emit: asm =>
      emitLines(asm, [
        ['50', 'push eax'],
        ['53', 'push ebx'],
        ['8b 5c 24 08', 'mov ebx, [esp + 8]'],
        [`b8 =${numberOf('IRET')}`, `mov eax, ${numberOf('IRET')}`],
        ['0f 01 c1', 'vmcall'],
        POP_EBX,
        ['58', 'pop eax'],
        ['83 c4 04', 'add esp, 4'],
        ['cf', 'iretd'],
      ]),
  },
  SYSEXIT: {
    how: 'jump',
    emit: asm =>
      emitLines(asm, [
        ['fb', 'sti'],
        ['0f 35', 'sysexit'],
      ]),
  },
  Halt: instructions(['fb', 'sti'], ['f4', 'hlt']),
  Reboot: hypercall('Reboot'),
  Shutdown: hypercall('Shutdown'),

  SetPxE: setEntry('SetPxE', 'edx', 4),
  SetPxELong: setEntry('SetPxELong', 'ecx', 8),
  // The processor walks the guest's own tables: an entry that the guest has changed is changed.
  UpdatePxE: nothing,
  UpdatePxELong: nothing,
  // Undocumented, and no Linux makes them: the kernel's way is as good.
  MachineToPhysical: native,
  PhysicalToMachine: native,
  AllocatePage: hypercall('AllocatePage'),
  ReleasePage: hypercall('ReleasePage'),
  InvalPage: afterUpdates('InvalPage', ['0f 01 38', 'invlpg [eax]']),
  FlushTLB: {
    how: 'call',
    emit(asm) {
      flushTlb.emit(asm);
      asm.label('FlushTLB.local');
      emitLines(asm, [
        ['0f 20 d8', 'mov eax, cr3'],
        ['0f 22 d8', 'mov cr3, eax'],
        ['c3', 'ret'],
      ]);
    },
  },
  SetLinearMapping: hypercall('SetLinearMapping'),

  INL: instructions(['ed', 'in eax, dx']),
  INB: instructions(['ec', 'in al, dx'], ['0f b6 c0', 'movzx eax, al']),
  INW: instructions(['66 ed', 'in ax, dx'], ['0f b7 c0', 'movzx eax, ax']),
  INSL: instructions(['f3 6d', 'rep insd']),
  INSB: instructions(['f3 6c', 'rep insb']),
  INSW: instructions(['66 f3 6d', 'rep insw']),
  OUTL: instructions(['ef', 'out dx, eax']),
  OUTB: instructions(['ee', 'out dx, al']),
  OUTW: instructions(['66 ef', 'out dx, ax']),
  OUTSL: instructions(['f3 6f', 'rep outsd']),
  OUTSB: instructions(['f3 6e', 'rep outsb']),
  OUTSW: instructions(['66 f3 6f', 'rep outsw']),

  SetIOPLMask: instructions(
    ['9c', 'pushfd'],
    ['5a', 'pop edx'],
    ['80 e6 cf', 'and dh, 0xcf'],
    ['09 c2', 'or edx, eax'],
    ['52', 'push edx'],
    ['9d', 'popfd'],
  ),
  SetInitialAPState: hypercall('SetInitialAPState'),
  APICWrite: hypercall('APICWrite'),
  APICRead: hypercall('APICRead'),
  IODelay: nothing,

  GetCycleFrequency: hypercall('GetCycleFrequency'),
  GetCycleCounter: hypercall('GetCycleCounter'),
  SetAlarm: hypercall('SetAlarm'),
  CancelAlarm: hypercall('CancelAlarm'),
  GetWallclockTime: hypercall('GetWallclockTime'),
  // The clock is never set while the guest runs.
  WallclockUpdated: instructions(['31 c0', 'xor eax, eax']),
  SetCallbacks: native,
  SetLazyMode: setLazyMode,
};
