/** What Linux says when processors, or their clocks, do not do what it expects, under whatever hypervisor. */
const COMPLAINTS =
  /warp|soft lockup|hard LOCKUP|rcu.*stall|Call Trace|BUG:|WARNING:|failed to send PV IPI|do_boot_cpu failed|CPU\d+ failed|blocked for more than|Clocksource .* skewed/i;

/** The lines of `messages`, the kernel's, that complain. */
export function complaintsOf(messages: string): string[] {
  return messages.split('\n').filter(line => COMPLAINTS.test(line));
}
