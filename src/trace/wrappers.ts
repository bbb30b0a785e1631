import { hypervisors } from '../hypervisors/list.ts';

/**
 * Functions that ask their hypervisor or processor on behalf of whoever called them. What a trace is to name is the caller.
 * The names are Linux's: its paravirt operations and helpers for CPUID and MSRs, where they are not inlined, and its hypervisors' (list.ts) stubs.
 */
const WRAPPERS = new RegExp(
  `^(?:${[
    'hypercall_page',
    'native_cpuid(?:_e[abcd]x)?|__?cpuid(?:_count)?|cpuid(?:_e[abcd]x)?',
    '(?:native|paravirt|__pv)_(?:do_)?(?:read|write)_msr(?:_safe)?|do_trace_(?:read|write)_msr|(?:read|write)_msr',
    ...hypervisors.flatMap(({ guestHalf }) => guestHalf?.stubs ?? []),
  ].join('|')})$`,
);

/** @param name a symbol's, without an offset */
export function isWrapper(name: string | undefined): boolean {
  return name !== undefined && WRAPPERS.test(withoutVariant(name));
}

/** A compiler's copies of one function count as the function: `.isra.0`, `.cold`, `.constprop.0`. */
export function withoutVariant(name: string): string {
  return name.replace(/\.(?:isra|part|constprop|cold)\b.*$/, '');
}
