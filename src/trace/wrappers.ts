/**
 * Functions that ask their hypervisor or processor on behalf of whoever called them. What a trace is to name is the caller.
 * The names are Linux's: its paravirt operations, hypercall stubs and helpers for CPUID and MSRs, where they are not inlined.
 */
const WRAPPERS = new RegExp(
  `^(?:${[
    'xen_hypercall\\w*|hypercall_page|HYPERVISOR_\\w+|xen_mc_(?:flush|issue|batch)|__xen_mc_entry|xen_extend_mmuext_op',
    'xen_cpuid|native_cpuid(?:_e[abcd]x)?|__?cpuid(?:_count)?|cpuid(?:_e[abcd]x)?',
    '(?:native|xen|paravirt|__pv)_(?:do_)?(?:read|write)_msr(?:_safe)?|do_trace_(?:read|write)_msr|(?:read|write)_msr',
    '(?:kvm|hv|vmware)_(?:do_)?\\w*hypercall\\w*|__hv_hypercall\\w*',
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
