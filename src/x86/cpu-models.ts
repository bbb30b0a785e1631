/**
 * The processors that a machine may have, named after the levels of x86-64 (System V psABI, AMD64, 3.1.1), and the state components that XCR0
 * may have: CPUID follows from these (engine/x86/cpuid.ts). Both have what x86-64-v3 demands of general registers.
 */
import { XSTATE_AVX, XSTATE_SSE, XSTATE_X87 } from './control.ts';

export const CPU_COMPONENTS = {
  'x86-64-v2': XSTATE_X87 | XSTATE_SSE,
  'x86-64-v3': XSTATE_X87 | XSTATE_SSE | XSTATE_AVX,
} as const;
export type CpuModel = keyof typeof CPU_COMPONENTS;
export const CPU_MODELS = Object.keys(CPU_COMPONENTS) as readonly CpuModel[];
export const DEFAULT_CPU_MODEL: CpuModel = 'x86-64-v3';
