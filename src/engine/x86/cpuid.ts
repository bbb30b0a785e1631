/**
 * The processor we are: an AMD-like x86-64-v3 or v2 (x86/cpu-models.ts), with what the table holds besides, and nothing else (AMD APM 3
 * appendix E, SDM 2A CPUID). Rows of a feature that is not offered here are not in the decoder: they raise #UD.
 *
 * The vendor decides what Linux does: as AMD we need no page-table isolation and are called by VMMCALL. An interpreter does
 * not speculate, and ARCH_CAPABILITIES says so truthfully: no retpolines, no mitigations.
 */
import type { CpuidResult } from '../../paravirt/operations.ts';
import { XSTATE_AVX } from '../../x86/control.ts';
import { coreBits, type Topology, threadBits } from '../../x86/topology.ts';
import type { Feature } from './instructions/row.ts';

type Register = 'eax' | 'ebx' | 'ecx' | 'edx';
interface Bit {
  leaf: number;
  register: Register;
  bit: number;
}
const bit = (leaf: number, register: Register, n: number): Bit => ({ leaf, register, bit: n });

/** Leaf 0xd, subleaf 1, as a leaf of its own. */
const LEAF_D_1 = 0xd_0000_0001;

/** Where CPUID says that a feature is there. All of these are offered, those on YMM registers not by every machine. */
const FEATURES: Partial<Record<Feature, Bit>> = {
  fpu: bit(1, 'edx', 0),
  cx8: bit(1, 'edx', 8),
  sysenter: bit(1, 'edx', 11),
  cmov: bit(1, 'edx', 15),
  clflush: bit(1, 'edx', 19),
  mmx: bit(1, 'edx', 23),
  fxsr: bit(1, 'edx', 24),
  sse: bit(1, 'edx', 25),
  sse2: bit(1, 'edx', 26),
  sse3: bit(1, 'ecx', 0),
  pclmulqdq: bit(1, 'ecx', 1),
  ssse3: bit(1, 'ecx', 9),
  cx16: bit(1, 'ecx', 13),
  pcid: bit(1, 'ecx', 17),
  sse4_1: bit(1, 'ecx', 19),
  sse4_2: bit(1, 'ecx', 20),
  movbe: bit(1, 'ecx', 22),
  popcnt: bit(1, 'ecx', 23),
  aes: bit(1, 'ecx', 25),
  xsave: bit(1, 'ecx', 26),
  rdrand: bit(1, 'ecx', 30),
  fsgsbase: bit(7, 'ebx', 0),
  bmi1: bit(7, 'ebx', 3),
  bmi2: bit(7, 'ebx', 8),
  invpcid: bit(7, 'ebx', 10),
  rdseed: bit(7, 'ebx', 18),
  smap: bit(7, 'ebx', 20),
  clflushopt: bit(7, 'ebx', 23),
  sha: bit(7, 'ebx', 29),
  xsaveopt: bit(LEAF_D_1, 'eax', 0),
  xsavec: bit(LEAF_D_1, 'eax', 1),
  fma: bit(1, 'ecx', 12),
  avx: bit(1, 'ecx', 28),
  f16c: bit(1, 'ecx', 29),
  avx2: bit(7, 'ebx', 5),
  lahf_lm: bit(0x80000001, 'ecx', 0),
  lzcnt: bit(0x80000001, 'ecx', 5),
  '3dnowprefetch': bit(0x80000001, 'ecx', 8),
  syscall: bit(0x80000001, 'edx', 11),
  rdtscp: bit(0x80000001, 'edx', 27),
};
/** Those on YMM registers: offered where XCR0 may have AVX's bit. Elsewhere no kernel can set it, and they raise #UD. */
const YMM_FEATURES: ReadonlySet<string> = new Set<Feature>(['avx', 'avx2', 'fma', 'f16c']);
/** What is offered without having instructions of its own. */
const QUALITIES: readonly Bit[] = [
  bit(1, 'edx', 1), // VME
  bit(1, 'edx', 2), // DE
  bit(1, 'edx', 3), // PSE
  bit(1, 'edx', 4), // TSC
  bit(1, 'edx', 5), // MSR
  bit(1, 'edx', 6), // PAE
  bit(1, 'edx', 7), // MCE
  bit(1, 'edx', 9), // APIC
  bit(1, 'edx', 12), // MTRR
  bit(1, 'edx', 13), // PGE
  bit(1, 'edx', 14), // MCA, no banks
  bit(1, 'edx', 16), // PAT
  bit(1, 'edx', 17), // PSE-36
  bit(1, 'ecx', 21), // x2APIC
  bit(1, 'ecx', 24), // TSC deadline
  bit(LEAF_D_1, 'eax', 2), // XGETBV with ECX = 1
  bit(7, 'ebx', 1), // IA32_TSC_ADJUST
  bit(7, 'ebx', 7), // SMEP
  bit(7, 'ebx', 9), // ERMS
  bit(7, 'ecx', 2), // UMIP
  bit(7, 'edx', 4), // FSRM
  bit(7, 'edx', 26), // SPEC_CTRL, PRED_CMD
  bit(7, 'edx', 29), // ARCH_CAPABILITIES
  bit(0x80000001, 'edx', 20), // NX
  bit(0x80000001, 'edx', 26), // 1 GiB pages
  bit(0x80000001, 'edx', 29), // long mode
  bit(0x80000007, 'edx', 8), // invariant TSC
];
/** Of leaf 1's EDX: leaf 1 counts the logical processors of a socket. */
const HTT = 1 << 28;
/** Of leaf 0x80000001's ECX. */
const CMP_LEGACY = 1 << 1;
/** Of leaf 1's EDX: there only while the local APIC is on. */
const APIC = 1 << 9;
/** Bits of leaf 1's EDX that AMD repeats in leaf 0x80000001. */
const REPEATED = 0x0183f3ff;

export const offered: ReadonlySet<Feature> = new Set(Object.keys(FEATURES) as Feature[]);

/** Family 15 (0xf), model 64, stepping 2: before the models whose erratum 400 makes Linux idle with care. */
export const SIGNATURE = 0x00040f02;
const VENDOR = 'AuthenticAMD';
const BRAND = 'Polyvisor virtual CPU'.padEnd(48, '\0');

export interface CpuidInputs {
  /** Initial APIC id. */
  apicId: number;
  /** How all processors are arranged. */
  topology: Topology;
  /** CR4.OSXSAVE. */
  osxsave: boolean;
  /** The bits that XCR0 may have, and those that it has. */
  components: number;
  xcr0: number;
  /** The local APIC is there and on (IA32_APIC_BASE bit 11). */
  apic: boolean;
}

function text(from: string, at: number): number {
  return [0, 1, 2, 3].reduce((word, i) => word | (from.charCodeAt(at + i) << (8 * i)), 0) >>> 0;
}
function bits(leaf: number, ymm: boolean): CpuidResult {
  const result = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  const features = Object.entries(FEATURES).filter(([name]) => ymm || !YMM_FEATURES.has(name));
  for (const found of [...features.map(([, place]) => place), ...QUALITIES])
    if (found.leaf === leaf) result[found.register] = (result[found.register] | (1 << found.bit)) >>> 0;
  return result;
}
const LEAF_1 = [bits(1, false), bits(1, true)] as const;
const LEAF_7 = [bits(7, false), bits(7, true)] as const;
const LEAF_80000001 = bits(0x80000001, true);
const LEAF_80000007 = bits(0x80000007, true);
const XSAVE_FEATURES = bits(LEAF_D_1, true);
/** FXSAVE's area and the XSAVE header, where AVX's component then stands. */
const XSAVE_SIZE = 576;
const YMM_SIZE = 256;

/** Of a socket. */
const logicalProcessors = ({ cores, threads }: Topology): number => cores * threads;
/** Leaf 1's count is of cores: no core has several threads. */
const isCmpLegacy = ({ cores, threads }: Topology): boolean => cores > 1 && threads === 1;

/** Leaf 0xb (SDM 2A, CPUID): level 1 has the threads of a core, level 2 all of a socket. */
function extendedTopology(subleaf: number, { topology, apicId }: CpuidInputs): CpuidResult {
  switch (subleaf) {
    case 0:
      return { eax: threadBits(topology), ebx: topology.threads, ecx: 0x100, edx: apicId };
    case 1:
      return { eax: coreBits(topology), ebx: logicalProcessors(topology), ecx: 0x201, edx: apicId };
    default:
      return { eax: 0, ebx: 0, ecx: subleaf & 0xff, edx: apicId };
  }
}

/** Leaf 0xd (SDM 1, 13.2): sizes of what is enabled and of what there may be, then the components. Compacted, AVX's has the same place. */
function extendedStates(subleaf: number, { components, xcr0 }: CpuidInputs): CpuidResult {
  const sizeOf = (some: number) => XSAVE_SIZE + (some & XSTATE_AVX ? YMM_SIZE : 0);
  if (subleaf === 0) return { eax: components, ebx: sizeOf(xcr0), ecx: sizeOf(components), edx: 0 };
  if (subleaf === 1) return { ...XSAVE_FEATURES, ebx: sizeOf(xcr0) };
  const isThere = subleaf === 2 && components & XSTATE_AVX;
  return { eax: isThere ? YMM_SIZE : 0, ebx: isThere ? XSAVE_SIZE : 0, ecx: 0, edx: 0 };
}

export function cpuid(leaf: number, subleaf: number, inputs: CpuidInputs): CpuidResult {
  const none = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  const ymm = inputs.components & XSTATE_AVX ? 1 : 0;
  switch (leaf) {
    case 0:
      return { eax: 0xd, ebx: text(VENDOR, 0), edx: text(VENDOR, 4), ecx: text(VENDOR, 8) };
    case 1: {
      const ecx = (LEAF_1[ymm].ecx | (inputs.osxsave ? 1 << 27 : 0)) >>> 0;
      const edx = LEAF_1[ymm].edx & (inputs.apic ? -1 : ~APIC);
      const logical = logicalProcessors(inputs.topology);
      // CLFLUSH line of 8 quadwords.
      const ebx = ((inputs.apicId << 24) | (logical << 16) | (8 << 8)) >>> 0;
      return { eax: SIGNATURE, ebx, ecx, edx: (edx | (logical > 1 ? HTT : 0)) >>> 0 };
    }
    case 7:
      return subleaf === 0 ? LEAF_7[ymm] : none;
    case 0xb:
      return inputs.topology.cpus > 1 ? extendedTopology(subleaf, inputs) : none;
    case 0xd:
      return extendedStates(subleaf, inputs);
    case 0x80000000:
      return { eax: 0x80000008, ebx: text(VENDOR, 0), edx: text(VENDOR, 4), ecx: text(VENDOR, 8) };
    case 0x80000001:
      return {
        eax: SIGNATURE,
        ebx: 0,
        ecx: isCmpLegacy(inputs.topology) ? (LEAF_80000001.ecx | CMP_LEGACY) >>> 0 : LEAF_80000001.ecx,
        edx: (LEAF_80000001.edx | (LEAF_1[ymm].edx & REPEATED & (inputs.apic ? -1 : ~APIC))) >>> 0,
      };
    case 0x80000002:
    case 0x80000003:
    case 0x80000004: {
      const at = (leaf - 0x80000002) * 16;
      return { eax: text(BRAND, at), ebx: text(BRAND, at + 4), ecx: text(BRAND, at + 8), edx: text(BRAND, at + 12) };
    }
    case 0x80000005: // 64 KiB L1 caches, 2-way, 64-byte lines
      return { eax: 0x01ff01ff, ebx: 0x01ff01ff, ecx: 0x40020140, edx: 0x40020140 };
    case 0x80000006: // 512 KiB L2, 16-way
      return { eax: 0, ebx: 0x42004200, ecx: 0x02008140, edx: 0 };
    case 0x80000007:
      return LEAF_80000007;
    case 0x80000008: {
      const logical = logicalProcessors(inputs.topology);
      const ecx = logical > 1 ? (coreBits(inputs.topology) << 12) | (logical - 1) : 0;
      return { eax: 0x3028, ebx: 0, ecx, edx: 0 }; // 40 bits physical, 48 linear
    }
    default:
      return none;
  }
}
