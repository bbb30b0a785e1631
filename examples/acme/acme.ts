/**
 * Acme's hypervisor, a toy: it names itself, takes two hypercalls and keeps a clock in a page of the guest's. This is the API's
 * way to write one: `polyvisor run --hypervisor examples/acme/acme.ts`. examples/acme-binary/ is the same as a closed binary.
 */
import { bareTable, type CpuidResult, derive, type HypervisorModule, type Processor } from 'polyvisor';

const name = 'acme';
const title = "Acme's: a signature, two hypercalls, a clock in a page of memory";

/** CPUID leaves: who we are ("AcmeAcmeAcme"), and what we can do. */
const ACME_CPUID_SIGNATURE = 0x40000000;
const ACME_CPUID_FEATURES = 0x40000001;
const ACME = 0x656d6341;
const ACME_FEATURE_HYPERCALLS = 1 << 0;
const ACME_FEATURE_CLOCK = 1 << 1;
/** CPUID.1:ECX[31]: there is a hypervisor. */
const HYPERVISOR = 1 << 31;

/** Hypercalls, by VMCALL or VMMCALL: number in RAX, arguments in RBX and RCX, result in RAX. */
const ACME_LOG = 1n;
const ACME_TIME = 2n;
const ACME_EPERM = -1n;
const ACME_EFAULT = -14n;
const ACME_ENOSYS = -38n;
/** Longest line of ACME_LOG, in bytes. */
const LINE = 256n;

/** The clock: written with an address and 1, it has the page there filled; with 0 it stops caring. */
const MSR_ACME_CLOCK = 0x41434d45;
const ENABLED = 1n;
/** struct acme_clock: u64 nanoseconds, u64 tsc, u64 frequency. time = nanoseconds + (rdtsc - tsc) * 10^9 / frequency */
const CLOCK_SIZE = 24;

function cpuid(_cpu: Processor, leaf: number, _subleaf: number, natively: () => CpuidResult): CpuidResult | undefined {
  if (leaf === 1) {
    const answer = natively();
    return { ...answer, ecx: (answer.ecx | HYPERVISOR) >>> 0 };
  }
  if (leaf === ACME_CPUID_SIGNATURE) return { eax: ACME_CPUID_FEATURES, ebx: ACME, ecx: ACME, edx: ACME };
  if (leaf === ACME_CPUID_FEATURES)
    return { eax: ACME_FEATURE_HYPERCALLS | ACME_FEATURE_CLOCK, ebx: 0, ecx: 0, edx: 0 };
  return undefined; // Not ours: the processor answers.
}

function hypercall(cpu: Processor): boolean {
  // A program may execute VMCALL as well as the kernel: only the kernel is answered.
  cpu.set('rax', cpu.cpl === 0 ? answer(cpu) : ACME_EPERM);
  return true; // False would be #UD, as if there were no hypercalls.
}

function answer(cpu: Processor): bigint {
  switch (cpu.get('rax')) {
    case ACME_LOG: {
      const length = cpu.get('rcx');
      const line = length <= LINE ? cpu.read(cpu.get('rbx'), Number(length)) : undefined;
      if (!line) return ACME_EFAULT;
      const text = new TextDecoder().decode(line);
      cpu.log.once(`acme ${text}`, `acme: ${text}`);
      return 0n;
    }
    case ACME_TIME:
      return BigInt(Math.floor(cpu.clock.now()));
    default:
      return ACME_ENOSYS;
  }
}

const acme: HypervisorModule = {
  name,
  title,
  make(context, base = bareTable) {
    const { memory, clock } = context;
    // What changes while the guest runs is data that the machine keeps: it can be saved and restored.
    const state = context.state('acme', 1, () => ({ clock: 0n }));
    return derive(base, {
      name,
      title,
      cpu: {
        cpuid,
        hypercall,
        hypercalls: {
          1: { name: 'ACME_LOG', arguments: ['address', 'length'], status: 'done' },
          2: { name: 'ACME_TIME', arguments: [], status: 'done' },
        },
        msrs: {
          [MSR_ACME_CLOCK]: {
            name: 'MSR_ACME_CLOCK',
            read: () => state.clock,
            write(cpu, value) {
              const at = Number(value & ~ENABLED);
              if (value & ENABLED) {
                if (at % 8 !== 0 || !memory.has(at, CLOCK_SIZE)) return false; // #GP
                memory.write64(at, BigInt(Math.floor(clock.now())));
                memory.write64(at + 8, cpu.tsc.read());
                memory.write64(at + 16, BigInt(cpu.tsc.frequency));
              }
              state.clock = value;
              return true;
            },
          },
        },
      },
    });
  },
};

export default acme;
