/**
 * What Linux says when processors, or their clocks, do not do what it expects. Xen's PV guests have no APIC ids, on real Xen neither, and say so
 * in these words.
 */
const COMPLAINTS = [
  /warp|unsynchronized|TSC unstable due to (?!running on Hyper-V)|soft lockup|hard LOCKUP|rcu.*stall|Call Trace|BUG:|WARNING:|Firmware Bug(?!.*: APIC id mismatch. Firmware: ffff)|Clocksource .* skewed/i,
  /APIC ID mismatch|failed to send PV IPI|do_boot_cpu failed|CPU\d+ failed|Failed to|can't (?!access extended PCI)|hung_task|blocked for more than/i,
];

/** The lines of `messages`, the kernel's, that complain. */
export function complaintsOf(messages: string): string[] {
  return messages.split('\n').filter(line => COMPLAINTS.some(complaint => complaint.test(line)));
}
