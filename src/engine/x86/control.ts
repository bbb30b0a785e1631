/** Control, debug and flag registers, MSRs, ports: what system instructions do (SDM 3A 2.5, 17.2; SDM 2). */
import {
  CR0_AM,
  CR0_CD,
  CR0_EM,
  CR0_ET,
  CR0_MP,
  CR0_NE,
  CR0_NW,
  CR0_PE,
  CR0_PG,
  CR0_TS,
  CR0_WP,
  CR4_DE,
  CR4_FSGSBASE,
  CR4_MCE,
  CR4_OSFXSR,
  CR4_OSXMMEXCPT,
  CR4_OSXSAVE,
  CR4_PAE,
  CR4_PCE,
  CR4_PCIDE,
  CR4_PGE,
  CR4_PSE,
  CR4_PVI,
  CR4_SMAP,
  CR4_SMEP,
  CR4_TSD,
  CR4_UMIP,
  CR4_VME,
  DR6_BD,
  DR6_FIXED,
  DR7_ENABLED,
  DR7_FIXED,
  DR7_GD,
  EFER_FFXSR,
  EFER_LMA,
  EFER_LME,
  EFER_NXE,
  EFER_SCE,
} from '../../x86/control.ts';
import { DESCRIPTOR_L } from '../../x86/descriptors.ts';
import { IF, IOPL, RF, TF } from '../../x86/flags.ts';
import { DEBUGCTL_BTF, PERF_CTR0 } from '../../x86/msrs.ts';
import { CS, TR } from '../../x86/segments.ts';
import * as vectors from '../../x86/vectors.ts';
import { type Cpu, isCanonical } from './cpu.ts';
import { debugStatus } from './debug-model.ts';
import type { Helper } from './helper.ts';
import { state } from './state.ts';
import { ONE_SPACE, pcidSpace, rootSpace } from './tlb.ts';
import {
  changesInterruptFlag,
  checkFlagsAccess,
  popLimitedFlags,
  pushedFlags,
  setVirtualInterruptFlag,
} from './virtual-interrupts.ts';

const CR0_KNOWN = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG;
/** AMD's counters that RDPMC reads: msrs.ts has them. */
const PERFORMANCE_COUNTERS = 4;
const CR4_KNOWN =
  CR4_VME |
  CR4_PVI |
  CR4_TSD |
  CR4_DE |
  CR4_PSE |
  CR4_PAE |
  CR4_MCE |
  CR4_PGE |
  CR4_PCE |
  CR4_OSFXSR |
  CR4_OSXMMEXCPT |
  CR4_UMIP |
  CR4_FSGSBASE |
  CR4_PCIDE |
  CR4_OSXSAVE |
  CR4_SMEP |
  CR4_SMAP;
const EFER_KNOWN = BigInt(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
/** Bits whose change drops all translations (SDM 3A 4.10.4.1). */
const CR4_FLUSHING = CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP;
/** MOV to CR3: the PCID's translations stay; and the bits that must be 0 with MAXPHYADDR 40. */
const CR3_KEEP = 1n << 63n;
const CR3_RESERVED = 1n << 40n;
const CR0_FLUSHING = CR0_PG | CR0_WP | CR0_PE;

/** The TLB's name for the current address space: the PCID if CR4.PCIDE, else one for all. */
function space(cpu: Cpu): number {
  return cpu.get32(state.CR4) & CR4_PCIDE ? pcidSpace(cpu.get32(state.CR3) & 0xfff) : ONE_SPACE;
}

export function setCr0(cpu: Cpu, value: number): void {
  const old = cpu.get32(state.CR0);
  value = ((value & CR0_KNOWN) | CR0_ET) >>> 0;
  if (value & CR0_PG && !(value & CR0_PE)) cpu.raise(vectors.GP, 0);
  if (value & CR0_NW && !(value & CR0_CD)) cpu.raise(vectors.GP, 0);
  const efer = cpu.get32(state.EFER);
  if ((value ^ old) & CR0_PG) {
    if (value & CR0_PG) {
      if (efer & EFER_LME) {
        if (!(cpu.get32(state.CR4) & CR4_PAE)) cpu.raise(vectors.GP, 0);
        if (cpu.get32(state.SEGMENT_ATTRIBUTES + 4 * CS) & DESCRIPTOR_L) cpu.raise(vectors.GP, 0);
        cpu.set32(state.EFER, efer | EFER_LMA);
      }
    } else {
      if (cpu.mode === 64) cpu.raise(vectors.GP, 0);
      if (cpu.get32(state.CR4) & CR4_PCIDE) cpu.raise(vectors.GP, 0);
      cpu.set32(state.EFER, efer & ~EFER_LMA);
    }
  }
  cpu.set64(state.CR0, BigInt(value));
  if ((value ^ old) & CR0_FLUSHING) {
    cpu.tlb.flushAll();
    cpu.requestExit();
  }
  // Leaving protected mode keeps CS's hidden part; CPL becomes 0.
  if (!(value & CR0_PE) && old & CR0_PE) cpu.setCpl(0);
  cpu.updateMode();
  cpu.updateUnits();
  cpu.updateBank();
}

export function setCr4(cpu: Cpu, wanted: bigint): void {
  const old = cpu.get32(state.CR4);
  if (wanted & ~BigInt(CR4_KNOWN)) cpu.raise(vectors.GP, 0);
  const value = Number(wanted);
  if (cpu.longMode && !(value & CR4_PAE)) cpu.raise(vectors.GP, 0);
  if (value & CR4_PCIDE && !(old & CR4_PCIDE) && (!cpu.longMode || cpu.get32(state.CR3) & 0xfff))
    cpu.raise(vectors.GP, 0);
  cpu.set64(state.CR4, BigInt(value));
  if ((value ^ old) & CR4_FLUSHING) {
    cpu.tlb.flushAll();
    cpu.tlb.select(space(cpu));
  }
  cpu.updateUnits();
  cpu.updateBank();
}

/** MOV to CR3: bit 63 with CR4.PCIDE keeps the PCID's translations (SDM 3A 4.10.4.1). */
export function setCr3(cpu: Cpu, value: bigint): void {
  const pcids = cpu.get32(state.CR4) & CR4_PCIDE;
  const keep = pcids && value >= CR3_KEEP;
  if (keep) value -= CR3_KEEP;
  if (cpu.longMode && value >= CR3_RESERVED) cpu.raise(vectors.GP, 0);
  cpu.set64(state.CR3, cpu.longMode ? value : value & 0xffffffffn);
  cpu.tlb.select(space(cpu));
  if (!keep) cpu.tlb.flush((cpu.get32(state.CR4) & CR4_PGE) !== 0);
  cpu.updateBank();
}

/** Loads a root that a hypervisor vouches for: translations made under it are still good. */
export function switchRoot(cpu: Cpu, value: bigint): void {
  cpu.set64(state.CR3, value);
  cpu.tlb.select(rootSpace(value));
  cpu.updateBank();
}

export function setEfer(cpu: Cpu, value: bigint): boolean {
  // FFXSR is not offered, but writing it back is harmless.
  if (value & ~(EFER_KNOWN | BigInt(EFER_FFXSR))) return false;
  const old = cpu.get32(state.EFER);
  const next = Number(value & EFER_KNOWN & ~BigInt(EFER_LMA));
  if ((next ^ old) & EFER_LME && cpu.get32(state.CR0) & CR0_PG) return false;
  cpu.set64(state.EFER, BigInt(next | (old & EFER_LMA)));
  if ((next ^ old) & EFER_NXE) cpu.tlb.flushAll();
  return true;
}

/** Debug registers: DR4 and DR5 are DR6 and DR7, or #UD with CR4.DE; DR7.GD makes any access #DB. */
function debugRegister(cpu: Cpu, index: number): number {
  if (index === 4 || index === 5) {
    if (cpu.get32(state.CR4) & CR4_DE) cpu.raise(vectors.UD);
    index += 2;
  }
  if (index > 7) cpu.raise(vectors.UD);
  const dr7 = cpu.get32(state.DR + 40);
  if (dr7 & DR7_GD) {
    noteDebugException(cpu, DR6_BD);
    // This #DB is a fault and no breakpoint's, so its frame shows RF (SDM 3B 17.3.1.1).
    cpu.set32(state.FLAGS_REST, cpu.get32(state.FLAGS_REST) | RF);
    cpu.raise(vectors.DB);
  }
  return index;
}
/**
 * DR6, DR7 and IA32_DEBUGCTL as a debug exception for `causes` (bits of DR6) leaves them: its handler may access debug
 * registers, and single steps are no longer of branches alone.
 */
export function noteDebugException(cpu: Cpu, causes: number): void {
  const [dr6, dr7] = [debugOffset(6), debugOffset(7)];
  cpu.set64(dr6, BigInt(debugStatus(cpu.get32(dr6), causes)));
  cpu.set64(dr7, BigInt((cpu.get32(dr7) & ~DR7_GD) >>> 0));
  cpu.set32(state.IA32_DEBUGCTL, cpu.get32(state.IA32_DEBUGCTL) & ~DEBUGCTL_BTF);
}
/** True if instructions are executed one by one: TF is set, or a breakpoint on an instruction is armed. */
export function isStepping(cpu: Cpu): boolean {
  if (cpu.get32(state.FLAGS_REST) & TF) return true;
  const dr7 = cpu.get32(debugOffset(7));
  if (!(dr7 & DR7_ENABLED)) return false;
  for (let i = 0; i < 4; i++) if ((dr7 >> (2 * i)) & 3 && !((dr7 >> (16 + 4 * i)) & 3)) return true;
  return false;
}
/** Offset of DR0-DR3, DR6, DR7 in the state. */
export function debugOffset(index: number): number {
  return state.DR + 8 * (index >= 6 ? index - 2 : index);
}
export function setDebug(cpu: Cpu, index: number, value: bigint): void {
  if (index === 6) value = (value & 0xe00fn) | BigInt(DR6_FIXED);
  if (index === 7) value = (value & 0xffff2bffn) | BigInt(DR7_FIXED);
  cpu.set64(debugOffset(index), value);
  if (index === 7) {
    updateWatching(cpu);
    cpu.tlb.flushAll();
    cpu.requestExit();
  }
}

/** Bits of WATCHING: who has to hear of accesses to memory. */
export const WATCHED_BY_GUEST = 1;
const WATCHED_BY_HOST = 2;

/** Whether a breakpoint of DR7 is on data or ports, or a debugger watches memory. */
export function updateWatching(cpu: Cpu): void {
  const value = cpu.get32(debugOffset(7));
  let watched = cpu.watchedByHost ? WATCHED_BY_HOST : 0;
  for (let i = 0; i < 4; i++) if ((value >> (2 * i)) & 3 && (value >> (16 + 4 * i)) & 1) watched |= WATCHED_BY_GUEST;
  cpu.set32(state.WATCHING, watched);
}

/** May the current code touch `port`? CPL <= IOPL, or the TSS's bitmap says so (SDM 1, 19.5). */
function checkPort(cpu: Cpu, port: number, bytes: number): void {
  if (!cpu.protectedMode || (!cpu.v86 && cpu.cpl <= cpu.iopl)) return;
  const tss = cpu.get64(state.TR_BASE);
  const limit = cpu.get32(state.SEGMENT_LIMIT + 4 * TR);
  if (limit < 0x67) cpu.raise(vectors.GP, 0);
  const map = Number(cpu.readLinear(cpu.wrap(tss + 0x66n), 2, true)) + (port >> 3);
  if (map + 1 > limit) cpu.raise(vectors.GP, 0);
  const bits = Number(cpu.readLinear(cpu.wrap(tss + BigInt(map)), 2, true)) >> (port & 7);
  if (bits & ((1 << bytes) - 1)) cpu.raise(vectors.GP, 0);
}

function afterFlags(cpu: Cpu): void {
  if (cpu.interruptFlag && cpu.environment.interruptPending()) cpu.requestExit();
  if (cpu.get32(state.FLAGS_REST) & TF) cpu.requestExit();
}

export const controlHelpers: Record<string, Helper> = {
  /** After XSETBV. */
  update_units: cpu => cpu.updateUnits(),
  /** Those that are no field of the state. */
  read_control: cpu => {
    if (cpu.argument32(0) !== 8) cpu.raise(vectors.UD);
    cpu.setResult32(cpu.environment.taskPriority());
  },
  write_control: cpu => {
    const value = cpu.argument(1);
    switch (cpu.argument32(0)) {
      case 0:
        if (value >> 32n) cpu.raise(vectors.GP, 0);
        return setCr0(cpu, Number(value));
      case 2:
        return cpu.set64(state.CR2, value);
      case 3:
        return setCr3(cpu, value);
      case 4:
        return setCr4(cpu, value);
      case 8:
        if (value >> 4n) cpu.raise(vectors.GP, 0);
        cpu.environment.setTaskPriority(Number(value));
        if (cpu.interruptFlag && cpu.environment.interruptPending()) cpu.requestExit();
        return;
      default:
        cpu.raise(vectors.UD);
    }
  },
  read_debug: cpu => {
    cpu.setResult(cpu.get64(debugOffset(debugRegister(cpu, cpu.argument32(0)))));
  },
  write_debug: cpu => {
    const index = debugRegister(cpu, cpu.argument32(0));
    const value = cpu.argument(1);
    if (index >= 6 && value >> 32n) cpu.raise(vectors.GP, 0);
    setDebug(cpu, index, value);
    // Until now nobody could tell whether RF was set. It is clear after any instruction that does not load it.
    cpu.set32(state.FLAGS_REST, cpu.get32(state.FLAGS_REST) & ~RF);
  },
  lmsw: cpu => {
    const old = cpu.get32(state.CR0);
    // PE can be set, not cleared.
    setCr0(cpu, (old & ~(CR0_MP | CR0_EM | CR0_TS)) | (cpu.argument32(0) & 0xf));
  },
  clts: cpu => {
    cpu.set64(state.CR0, cpu.get64(state.CR0) & ~BigInt(CR0_TS));
    cpu.updateUnits();
  },
  invlpg: cpu => cpu.tlb.invalidate(cpu.argument(0)),
  invpcid: cpu => {
    const [kind, pcid, address] = [cpu.argument(0), cpu.argument(1), cpu.argument(2)];
    const named = kind <= 1n ? pcid : 0n;
    const pcids = (cpu.get32(state.CR4) & CR4_PCIDE) !== 0;
    if (kind > 3n || pcid >> 12n || (named && !pcids) || (kind === 0n && !isCanonical(address)))
      cpu.raise(vectors.GP, 0);
    if (kind === 0n) return cpu.tlb.invalidate(address);
    if (kind === 1n) cpu.tlb.drop(pcids ? pcidSpace(Number(pcid)) : ONE_SPACE);
    else cpu.tlb.flushAll(); // 2: all with globals; 3: all without: dropping more is allowed
  },
  cpuid: cpu => {
    cpu.rip = cpu.here(); // whoever answers may want to know who asks
    const { eax, ebx, ecx, edx } = cpu.environment.cpuid(cpu.gpr32(0), cpu.gpr32(1));
    cpu.setGpr32(0, eax);
    cpu.setGpr32(3, ebx);
    cpu.setGpr32(1, ecx);
    cpu.setGpr32(2, edx);
  },
  rdmsr: cpu => {
    cpu.rip = cpu.here(); // whoever answers may want to know who asks
    const value = cpu.environment.readMsr(cpu.gpr32(1));
    if (value === undefined) cpu.raise(vectors.GP, 0);
    cpu.setGpr32(0, Number(value! & 0xffffffffn));
    cpu.setGpr32(2, Number(value! >> 32n));
  },
  wrmsr: cpu => {
    cpu.rip = cpu.here(); // whoever answers may want to know who asks
    const value = BigInt(cpu.gpr32(0)) | (BigInt(cpu.gpr32(2)) << 32n);
    if (!cpu.environment.writeMsr(cpu.gpr32(1), value)) cpu.raise(vectors.GP, 0);
  },
  rdpmc: cpu => {
    if (cpu.cpl > 0 && !(cpu.get32(state.CR4) & CR4_PCE)) cpu.raise(vectors.GP, 0);
    const index = cpu.gpr32(1);
    const value = index < PERFORMANCE_COUNTERS ? cpu.environment.readMsr(PERF_CTR0 + index) : undefined;
    if (value === undefined) return cpu.raise(vectors.GP, 0);
    cpu.setGpr32(0, Number(value & 0xffffffffn));
    cpu.setGpr32(2, Number((value >> 32n) & 0xffffn));
  },
  rdtsc: timestamp,
  rdtscp: cpu => {
    timestamp(cpu);
    cpu.setGpr32(1, cpu.get32(state.TSC_AUX));
  },
  /** Before INS and OUTS touch memory: the permission comes first. */
  check_port: cpu => {
    checkPort(cpu, cpu.argument32(0), cpu.argument32(1) / 8);
  },
  port_in: cpu => {
    const port = cpu.argument32(0);
    const bytes = (cpu.argument32(1) / 8) as 1 | 2 | 4;
    checkPort(cpu, port, bytes);
    cpu.setResult32(cpu.environment.portRead(port, bytes));
    if (cpu.get32(debugOffset(7)) & DR7_ENABLED) cpu.watchPort(port, bytes);
  },
  port_out: cpu => {
    const port = cpu.argument32(0);
    const bytes = (cpu.argument32(1) / 8) as 1 | 2 | 4;
    checkPort(cpu, port, bytes);
    cpu.environment.portWrite(port, bytes, cpu.argument32(2) & (bytes === 4 ? -1 : (1 << (8 * bytes)) - 1));
    if (cpu.get32(debugOffset(7)) & DR7_ENABLED) cpu.watchPort(port, bytes);
  },
  cli: cpu => {
    if (!changesInterruptFlag(cpu)) return setVirtualInterruptFlag(cpu, false);
    cpu.set32(state.FLAGS_REST, cpu.get32(state.FLAGS_REST) & ~IF);
  },
  sti: cpu => {
    if (!changesInterruptFlag(cpu)) return setVirtualInterruptFlag(cpu, true);
    const rest = cpu.get32(state.FLAGS_REST);
    if (rest & IF) return;
    cpu.set32(state.FLAGS_REST, rest | IF);
    cpu.set64(state.INTERRUPT_SHADOW, cpu.next());
    if (cpu.environment.interruptPending()) cpu.requestExit();
  },
  hlt: cpu => {
    cpu.environment.halt();
    cpu.requestExit();
  },
  pause: cpu => cpu.pause(),
  check_flags_access: cpu => checkFlagsAccess(cpu, cpu.argument32(0)),
  pushed_flags: cpu => {
    checkFlagsAccess(cpu, cpu.argument32(0));
    cpu.setResult32(pushedFlags(cpu));
  },
  popf: cpu => {
    const value = cpu.argument32(0);
    const bits = cpu.argument32(1);
    if (popLimitedFlags(cpu, value)) return cpu.updateBank();
    let change = 0x247fd5 & ~(IOPL | IF); // arithmetic, TF, DF, NT, AC, ID
    if (bits === 16) change &= 0xffff;
    const { cpl, iopl } = cpu;
    const real = !cpu.protectedMode;
    if (real || (cpl === 0 && !cpu.v86)) change |= IOPL;
    if (real || cpl <= iopl || cpu.v86) change |= IF;
    // RF is cleared; VM, VIF and VIP stay.
    cpu.flags = (cpu.flags & ~change & ~RF) | (value & change) | 2;
    cpu.updateBank();
    afterFlags(cpu);
  },
  random: cpu => {
    const bits = cpu.argument32(0);
    cpu.setResult(BigInt.asUintN(bits, cpu.environment.random()));
  },
};

function timestamp(cpu: Cpu): void {
  if (cpu.get32(state.CR4) & CR4_TSD && cpu.cpl > 0) cpu.raise(vectors.GP, 0);
  // Linux asks twice at each switch of tasks: no bigints where the guest has never set the counter, as most have not.
  if ((cpu.get32(state.TSC_OFFSET) | cpu.get32(state.TSC_OFFSET + 4)) === 0) {
    const ticks = Math.floor(cpu.environment.ticks());
    cpu.setGpr32(0, ticks % 2 ** 32);
    cpu.setGpr32(2, ticks / 2 ** 32);
    return;
  }
  // Through memory: a bigint's halves cost two more bigints each.
  cpu.setResult(cpu.environment.tsc());
  cpu.setGpr32(0, cpu.get32(state.RESULT));
  cpu.setGpr32(2, cpu.get32(state.RESULT + 4));
}
