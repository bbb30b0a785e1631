/** A domain for tests that make no hypercalls: frame numbers are page numbers, and all that is RAM is the guest's. */
import { FakeProcessor, fakeContext } from '../../conformance/fake-processor.ts';
import { PAGE_SHIFT, PAGE_SIZE } from '../../x86/paging.ts';
import { Domain, type DomainKind, SHARED_FRAMES } from './domain.ts';
import { GNTST_general_error } from './grant-status.ts';

const frame: DomainKind['frame'] = (domain, number) => (number < domain.pages ? number * PAGE_SIZE : undefined);

const kind: DomainKind = {
  translated: false,
  hypercallLength: 3,
  features: () => 0,
  frame,
  hold: frame,
  release: () => {},
  frameNumber: (_, address) => address >>> PAGE_SHIFT,
  upcall: () => {},
  upcallDeliverable: vcpu => vcpu.upcallPending && !vcpu.upcallMask,
  read: (vcpu, address, length) => vcpu.cpu.read(address, length),
  write: (vcpu, address, data) => vcpu.cpu.write(address, data),
  readWords: () => false,
  writeWords: () => false,
  width: () => 64,
  share: () => {},
  unshare: () => true,
  mapGrant: () => GNTST_general_error,
  unmapGrant: () => GNTST_general_error,
};

/** @param differences what the test looks at, or wants otherwise */
export function fakeDomain(differences: Partial<DomainKind>, processors = 1): { domain: Domain; cpu: FakeProcessor } {
  const cpu = new FakeProcessor({ memory: 1 << 20 });
  const { memory, clock } = cpu;
  const others = Array.from({ length: processors - 1 }, (_, i) => new FakeProcessor({ id: i + 1, memory, clock }));
  const context = { ...fakeContext(cpu), cpus: [cpu, ...others] };
  const domain = new Domain(context, { kind: { ...kind, ...differences }, reservedFrames: SHARED_FRAMES });
  return { domain, cpu };
}
