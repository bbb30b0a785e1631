/**
 * Acme's hypervisor as a closed binary: what examples/acme/acme.ts does, against the binary interface. The language is
 * AssemblyScript, TypeScript's syntax with WebAssembly's types; `npm run acme` makes acme.wasm of it.
 */
import {
  answer_cpuid,
  cpuid_natively,
  get_register,
  log,
  now,
  privilege_level,
  read_linear,
  read_tsc,
  set_register,
  tsc_frequency,
  write_physical,
} from './polyvisor_1';

/** What we change: everything else stays what bare hardware does. */
const MANIFEST = String.UTF8.encode(
  `{
  "abi": "1.1",
  "name": "acme",
  "title": "Acme's: a signature, two hypercalls, a clock in a page of memory",
  "operations": { "cpu.cpuid": "function", "cpu.hypercall": "function" },
  "msrs": [{ "index": "0x41434d45", "name": "MSR_ACME_CLOCK", "access": "read-write" }],
  "hypercalls": [
    { "number": 1, "name": "ACME_LOG", "arguments": ["address", "length"], "status": "done" },
    { "number": 2, "name": "ACME_TIME", "arguments": [], "status": "done" }
  ]
}`,
  true,
);

export function polyvisor_manifest(): usize {
  return changetype<usize>(MANIFEST);
}

/** Registers, by their place in the list of docs/write-a-hypervisor.md. */
const RAX = 0;
const RCX = 1;
const RBX = 3;

/** CPUID leaves: who we are ("AcmeAcmeAcme"), and what we can do. */
const ACME_CPUID_SIGNATURE: u32 = 0x40000000;
const ACME_CPUID_FEATURES: u32 = 0x40000001;
const ACME: u32 = 0x656d6341;
const ACME_FEATURE_HYPERCALLS: u32 = 1 << 0;
const ACME_FEATURE_CLOCK: u32 = 1 << 1;
/** CPUID.1:ECX[31]: there is a hypervisor. */
const HYPERVISOR: u32 = 1 << 31;

/** Hypercalls, by VMCALL or VMMCALL: number in RAX, arguments in RBX and RCX, result in RAX. */
const ACME_LOG: u64 = 1;
const ACME_TIME: u64 = 2;
const ACME_EPERM: i64 = -1;
const ACME_EFAULT: i64 = -14;
const ACME_ENOSYS: i64 = -38;
/** Longest line of ACME_LOG, in bytes. */
const LINE: u64 = 256;

/** The clock: written with an address and 1, it has the page there filled; with 0 it stops caring. */
const ENABLED: u64 = 1;
/** struct acme_clock: u64 nanoseconds, u64 tsc, u64 frequency. time = nanoseconds + (rdtsc - tsc) * 10^9 / frequency */
const CLOCK_SIZE = 24;

/** Room for what is copied to and from the guest: our memory is not the guest's. */
const buffer = memory.data(256, 8);

/** @returns 1 with an answer, 0 for the processor's own */
export function cpu_cpuid(_cpu: i32, leaf: u32, _subleaf: u32): i32 {
  switch (leaf) {
    case 1:
      cpuid_natively(buffer);
      answer_cpuid(load<u32>(buffer), load<u32>(buffer, 4), load<u32>(buffer, 8) | HYPERVISOR, load<u32>(buffer, 12));
      return 1;
    case ACME_CPUID_SIGNATURE:
      answer_cpuid(ACME_CPUID_FEATURES, ACME, ACME, ACME);
      return 1;
    case ACME_CPUID_FEATURES:
      answer_cpuid(ACME_FEATURE_HYPERCALLS | ACME_FEATURE_CLOCK, 0, 0, 0);
      return 1;
    default:
      return 0;
  }
}

export function cpu_hypercall(cpu: i32): i32 {
  // A program may execute VMCALL as well as the kernel: only the kernel is answered.
  set_register(cpu, RAX, privilege_level(cpu) == 0 ? answer(cpu) : ACME_EPERM);
  return 1; // 0 would be #UD, as if there were no hypercalls.
}

function answer(cpu: i32): i64 {
  const number = <u64>get_register(cpu, RAX);
  if (number == ACME_LOG) {
    const length = <u64>get_register(cpu, RCX);
    if (length > LINE || !read_linear(cpu, get_register(cpu, RBX), buffer, <i32>length, 0)) return ACME_EFAULT;
    log(buffer, <i32>length);
    return 0;
  }
  return number == ACME_TIME ? now() : ACME_ENOSYS;
}

/** One machine's state: each machine has an instance of this binary for itself. */
let register: u64 = 0;

export function cpu_msr_read(_cpu: i32, _index: u32): i64 {
  return register;
}

/** @returns 0 for #GP */
export function cpu_msr_write(cpu: i32, _index: u32, value: i64): i32 {
  const address = <u64>value & ~ENABLED;
  if (<u64>value & ENABLED) {
    store<i64>(buffer, now());
    store<i64>(buffer, read_tsc(cpu), 8);
    store<i64>(buffer, tsc_frequency(cpu), 16);
    if (address % 8 != 0 || !write_physical(address, buffer, CLOCK_SIZE)) return 0;
  }
  register = value;
  return 1;
}
