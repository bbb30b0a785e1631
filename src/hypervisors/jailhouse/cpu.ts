/** A cell's CPUID leaves and hypercalls (Jailhouse hypervisor/arch/x86/vcpu.c, hypervisor/control.c, include/jailhouse/hypercall.h). */
import { EMPTY_LEAF, signatureLeaf, withHypervisor } from '../../paravirt/cpuid.ts';
import type { Group } from '../../paravirt/group.ts';
import type { Hypercall, HypervisorContext } from '../../paravirt/operations.ts';
import type { RegisterName } from '../../paravirt/processor.ts';

const JAILHOUSE_CPUID_SIGNATURE = 0x40000000;
/** Empty, and the last leaf. */
const JAILHOUSE_CPUID_FEATURES = 0x40000001;

/** Errors are Linux's, returned negated. */
const EPERM = 1;
const EINVAL = 22;
const ENOSYS = 38;

const JAILHOUSE_HC_DISABLE = 0;
const JAILHOUSE_HC_CELL_CREATE = 1;
const JAILHOUSE_HC_CELL_START = 2;
const JAILHOUSE_HC_CELL_SET_LOADABLE = 3;
const JAILHOUSE_HC_CELL_DESTROY = 4;
const JAILHOUSE_HC_HYPERVISOR_GET_INFO = 5;
const JAILHOUSE_HC_CELL_GET_STATE = 6;
const JAILHOUSE_HC_CPU_GET_INFO = 7;
const JAILHOUSE_HC_DEBUG_CONSOLE_PUTC = 8;

/** What HYPERVISOR_GET_INFO is asked: pages of two pools, all and those in use; cells. */
const JAILHOUSE_INFO_MEM_POOL_SIZE = 0n;
const JAILHOUSE_INFO_REMAP_POOL_USED = 3n;
const JAILHOUSE_INFO_NUM_CELLS = 4n;
/** The root cell, and this one. */
const CELLS = 2;

/** What CPU_GET_INFO is asked: the state, or one of the statistics, which count from here on. */
const JAILHOUSE_CPU_INFO_STATE = 0n;
const JAILHOUSE_CPU_INFO_STAT_BASE = 1000n;
const JAILHOUSE_NUM_CPU_STATS = 11n;
const JAILHOUSE_CPU_RUNNING = 0;

interface Call extends Hypercall {
  /** @returns for RAX; negative for an error */
  run(first: bigint, second: bigint): number;
}

/** RAX has the number and takes the result. */
const ARGUMENTS: readonly RegisterName[] = ['rdi', 'rsi'];

/** What the root cell alone may ask. */
const ofRootCell = (name: string, ...args: string[]): Call => ({
  name,
  arguments: args,
  status: 'done',
  run: () => -EPERM,
});

function callsOf(context: HypervisorContext): Readonly<Record<number, Call>> {
  return {
    [JAILHOUSE_HC_DISABLE]: ofRootCell('JAILHOUSE_HC_DISABLE'),
    [JAILHOUSE_HC_CELL_CREATE]: ofRootCell('JAILHOUSE_HC_CELL_CREATE', 'config_address'),
    [JAILHOUSE_HC_CELL_START]: ofRootCell('JAILHOUSE_HC_CELL_START', 'id'),
    [JAILHOUSE_HC_CELL_SET_LOADABLE]: ofRootCell('JAILHOUSE_HC_CELL_SET_LOADABLE', 'id'),
    [JAILHOUSE_HC_CELL_DESTROY]: ofRootCell('JAILHOUSE_HC_CELL_DESTROY', 'id'),
    [JAILHOUSE_HC_HYPERVISOR_GET_INFO]: {
      name: 'JAILHOUSE_HC_HYPERVISOR_GET_INFO',
      arguments: ['type'],
      status: 'partly',
      note: 'the pools of memory are empty: there is no hypervisor that needs any',
      run(type) {
        if (type === JAILHOUSE_INFO_NUM_CELLS) return CELLS;
        return type >= JAILHOUSE_INFO_MEM_POOL_SIZE && type <= JAILHOUSE_INFO_REMAP_POOL_USED ? 0 : -EINVAL;
      },
    },
    [JAILHOUSE_HC_CELL_GET_STATE]: ofRootCell('JAILHOUSE_HC_CELL_GET_STATE', 'id'),
    [JAILHOUSE_HC_CPU_GET_INFO]: {
      name: 'JAILHOUSE_HC_CPU_GET_INFO',
      arguments: ['cpu', 'type'],
      status: 'partly',
      note: 'the statistics are 0',
      run(cpu, type) {
        if (cpu >= BigInt(context.cpus.length)) return -EINVAL;
        if (type === JAILHOUSE_CPU_INFO_STATE) return JAILHOUSE_CPU_RUNNING;
        const statistic = type - JAILHOUSE_CPU_INFO_STAT_BASE;
        return statistic >= 0n && statistic < JAILHOUSE_NUM_CPU_STATS ? 0 : -EINVAL;
      },
    },
    [JAILHOUSE_HC_DEBUG_CONSOLE_PUTC]: {
      name: 'JAILHOUSE_HC_DEBUG_CONSOLE_PUTC',
      arguments: ['character'],
      status: 'done',
      run(character) {
        context.console.write(Uint8Array.of(Number(character & 0xffn)));
        return 0;
      },
    },
  };
}

export function createCpu(context: HypervisorContext): Group<'cpu'> {
  const calls = callsOf(context);
  return {
    cpuid(_cpu, leaf, _subleaf, natively) {
      if (leaf === 1) return withHypervisor(natively());
      if (leaf === JAILHOUSE_CPUID_SIGNATURE) return signatureLeaf(JAILHOUSE_CPUID_FEATURES, 'Jailhouse');
      return leaf === JAILHOUSE_CPUID_FEATURES ? EMPTY_LEAF : undefined;
    },
    hypercall(cpu) {
      const width = cpu.mode === 64 ? 64 : 32;
      const argument = (register: RegisterName) => BigInt.asUintN(width, cpu.get(register));
      const [number, first, second] = [cpu.get('rax'), ...ARGUMENTS.map(argument)];
      const call = number! < 2n ** 32n ? calls[Number(number)] : undefined;
      let result = -ENOSYS;
      if (cpu.cpl !== 0) result = -EPERM;
      else if (call) result = call.run(first!, second!);
      else cpu.log.once(`jailhouse-hypercall-${number}`, `CPU ${cpu.id}: Unknown hypercall ${number}`);
      cpu.set('rax', BigInt.asUintN(width, BigInt(result)));
      return true;
    },
    hypercalls: calls,
    convention: {
      number: cpu => Number(BigInt.asUintN(32, cpu.get('rax'))),
      registers: () => ARGUMENTS,
    },
  };
}
