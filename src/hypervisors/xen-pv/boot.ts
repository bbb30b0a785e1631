/** Boot of a PV guest: no firmware, no PC; the domain is built around the kernel, which starts in 64-bit mode at once. */
import type { BootOps } from '../../paravirt/operations.ts';
import { buildDomain, refusesImage } from './domain-builder.ts';
import type { PvDomain } from './pv-domain.ts';

export function createBoot(created: (pv: PvDomain) => void): Partial<BootOps> {
  return {
    platform: 'none',
    console: 'hvc0',
    refuses: refusesImage,
    load(request, context) {
      const { pv, entry } = buildDomain(request, context);
      created(pv);
      return entry;
    },
  };
}
