/** One hypervisor on one fake machine, as the cases of the conformance suite get it. */
import { parseKernel } from '../boot/image.ts';
import { guestHalves } from '../hypervisors/guest-halves.ts';
import type { HypervisorModule, Paravirt } from '../paravirt/operations.ts';
import type { RegisterName, SegmentName } from '../paravirt/processor.ts';
import { type FakeContext, type FakeProcessor, fakeContext, fakeProcessors, noFirmware } from './fake-processor.ts';
import type { GuestHalf } from './guest-half.ts';
import { tinyKernel } from './tiny-elf.ts';

export interface Fixture {
  module: HypervisorModule;
  table: Paravirt;
  /** All processors, and the first one. */
  cpus: readonly FakeProcessor[];
  cpu: FakeProcessor;
  context: FakeContext;
  /** What a guest of this hypervisor would do; empty for one we do not know. */
  guest: GuestHalf;
}

/** RAM of the fake machine, in bytes: room for a kernel, a hypervisor's pages and page tables. */
const MEMORY = 16 << 20;
/** `hlt; jmp` back: a kernel that nobody runs. */
const kernel = parseKernel(tinyKernel([0xf4, 0xeb, 0xfd]));

/** The hypervisor before it has placed a guest: good for looking at its table. */
export function createFixture(module: HypervisorModule, processors = 1): Fixture {
  const cpus = fakeProcessors(processors, MEMORY);
  const context = fakeContext(...cpus);
  return {
    module,
    table: module.make(context),
    cpus,
    cpu: cpus[0],
    context,
    guest: guestHalves.get(module.name) ?? {},
  };
}

/** The same with a tiny kernel placed and the first processor at its entry; the others have been started, too. */
export async function bootFixture(module: HypervisorModule, processors = 1): Promise<Fixture> {
  const fixture = createFixture(module, processors);
  const { table, cpu, context } = fixture;
  const { load } = table.boot;
  if (typeof load !== 'function') return fixture;
  const { memory, log } = context;
  const entry = load(
    { image: await kernel, initrd: undefined, natively: noFirmware, commandLine: '', memory, log },
    context,
  );
  for (const [name, value] of Object.entries(entry.registers)) cpu.set(name as RegisterName, value);
  for (const [name, value] of Object.entries(entry.segments)) cpu.setSegment(name as SegmentName, value);
  return fixture;
}
