/** The suite itself: hypervisors with one mistake each, and the case that must notice it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cases, skipReason } from '../src/conformance/cases.ts';
import { bootFixture, createFixture } from '../src/conformance/fixture.ts';
import { bareTable } from '../src/hypervisors/bare/index.ts';
import { kvm } from '../src/hypervisors/kvm/index.ts';
import { type Differences, derive } from '../src/paravirt/derive.ts';
import type { HypervisorContext, HypervisorModule, Msr, Paravirt } from '../src/paravirt/operations.ts';
import type { Processor } from '../src/paravirt/processor.ts';

const names = { name: 'toy', title: 'a hypervisor with a mistake' };
const SIGNATURE = { eax: 0x40000000, ebx: 0x20796f74, ecx: 0x20796f74, edx: 0x20796f74 };

function toy(differences: (context: HypervisorContext) => Partial<Differences>): HypervisorModule {
  return { ...names, make: context => derive(bareTable, { ...names, ...differences(context) }) };
}

const withMsr = (msr: Partial<Msr>) => toy(() => ({ cpu: { msrs: { 16384: { name: 'MSR_TOY', ...msr } } } }));
const hypercalls = { 1: { name: 'TOY_CALL', arguments: [], status: 'done' } } as const;

const SAVE_AND_RESTORE = 'what it keeps is data: saved and restored, another machine goes on the same';

let shared = 0n;
/** A register's `write` that does `work` and accepts. */
const accept = (work: (value: bigint) => void) => (_cpu: Processor, value: bigint) => {
  work(value);
  return true;
};

/** A hypercall that does `work` and is no #UD. */
const taken = (work: (cpu: Processor) => void) => (cpu: Processor) => {
  work(cpu);
  return true;
};

const MSR_KVM_SYSTEM_TIME_NEW = 0x4b564d01;
/** The suite knows KVM's guest half by the name. */
const kvmNames = { name: kvm.name, title: 'KVM with a mistake' };
const changedKvm = (
  change: (hypercall: (cpu: Processor) => boolean) => (cpu: Processor) => boolean,
): HypervisorModule => ({
  ...kvm,
  make(context) {
    const table = kvm.make(context);
    return derive(table, {
      ...kvmNames,
      cpu: { hypercall: change(table.cpu.hypercall as (cpu: Processor) => boolean) },
    });
  },
});

const MISTAKES: readonly { what: string; noticedBy: string; module: HypervisorModule }[] = [
  {
    what: 'an op is missing',
    noticedBy: 'the table is complete and names itself',
    module: { ...names, make: () => ({ ...bareTable, ...names, time: {} }) as unknown as Paravirt },
  },
  {
    what: 'an op is there that the waist does not know',
    noticedBy: 'the table is complete and names itself',
    module: toy(() => ({ mmu: { mmuUpdate: () => {} } as object })),
  },
  {
    what: 'a hypercall is done partly, and nobody says which part',
    noticedBy: 'registers and hypercalls are described',
    module: toy(() => ({
      cpu: { hypercall: () => true, hypercalls: { 1: { name: 'TOY_CALL', arguments: [], status: 'partly' } } },
    })),
  },
  {
    what: 'a register is common to all machines',
    noticedBy: 'two machines share nothing',
    module: withMsr({ read: () => shared, write: accept(value => void (shared = value)) }),
  },
  {
    what: 'a register is kept where no snapshot finds it',
    noticedBy: SAVE_AND_RESTORE,
    module: toy(() => {
      let hidden = 0n;
      return {
        cpu: { msrs: { 16384: { name: 'MSR_TOY', read: () => hidden, write: accept(v => void (hidden = v)) } } },
      };
    }),
  },
  {
    what: 'a count shows only in what comes later',
    noticedBy: SAVE_AND_RESTORE,
    module: toy(() => {
      let writes = 0;
      return { cpu: { msrs: { 16384: { name: 'MSR_TOY', write: () => ++writes % 3 !== 0 } } } };
    }),
  },
  {
    what: 'a state holds what is not data',
    noticedBy: SAVE_AND_RESTORE,
    module: toy(context => {
      const state = context.state('toy', 1, () => ({ listener: undefined as (() => void) | undefined }));
      return { cpu: { msrs: { 16384: { name: 'MSR_TOY', write: accept(() => void (state.listener = () => {})) } } } };
    }),
  },
  {
    what: 'making one needs a processor',
    noticedBy: 'can be listed without a machine',
    module: toy(({ cpus }) => ({ title: `a hypervisor for processor ${cpus[0].id}` })),
  },
  {
    what: 'the signature is not announced',
    noticedBy: 'the signature leaf is consistent',
    module: toy(() => ({ cpu: { cpuid: (_cpu, leaf) => (leaf === SIGNATURE.eax ? SIGNATURE : undefined) } })),
  },
  {
    what: 'a leaf is a signed number',
    noticedBy: 'CPUID gives unsigned 32-bit numbers, and the processor keeps its own leaves',
    module: toy(() => ({ cpu: { cpuid: (_cpu, leaf) => (leaf === 1 ? { ...SIGNATURE, ecx: 1 << 31 } : undefined) } })),
  },
  {
    what: 'an address is believed',
    noticedBy: 'registers take hostile values',
    module: toy(({ memory }) => ({
      cpu: { msrs: { 16384: { name: 'MSR_TOY', write: accept(value => memory.write32(Number(value), 1)) } } },
    })),
  },
  {
    what: 'every hypercall succeeds',
    noticedBy: 'an unknown hypercall is refused',
    module: toy(() => ({ cpu: { hypercall: taken(cpu => cpu.set('rax', 0n)), hypercalls } })),
  },
  {
    what: 'programs may call, too',
    noticedBy: 'a hypercall from user mode is refused',
    module: toy(() => ({
      cpu: { hypercall: taken(cpu => cpu.set('rax', cpu.get('rax') === 1n ? 0n : -1n)), hypercalls },
    })),
  },
  {
    what: 'an argument makes it throw',
    noticedBy: 'hypercalls take hostile arguments',
    module: toy(({ memory }) => ({
      cpu: { hypercall: taken(cpu => memory.fill(Number(cpu.get('rbx')), 1)), hypercalls },
    })),
  },
  {
    what: 'the number of a processor is believed',
    noticedBy: 'hypercalls of several processors take hostile arguments',
    module: toy(({ cpus }) => ({
      cpu: { hypercall: taken(cpu => cpus[Number(cpu.get('rbx') & 0xfn)].wake()), hypercalls },
    })),
  },
  {
    what: 'an interrupt goes to the sender, too',
    noticedBy: 'an interrupt for some processors reaches these and no others',
    module: changedKvm(hypercall => cpu => {
      cpu.interrupts!.request(Number(cpu.get('rsi') & 0xffn));
      return hypercall(cpu);
    }),
  },
  {
    what: "a processor's clock record is written when the first one's is, and not with its own",
    noticedBy: 'its clock is the same on every processor',
    module: {
      ...kvm,
      make(context) {
        const table = kvm.make(context);
        const register = table.cpu.msrs[MSR_KVM_SYSTEM_TIME_NEW];
        const msr: Msr = { ...register, write: (cpu, value) => cpu.id > 1 || register.write!(cpu, value) };
        return derive(table, { ...kvmNames, cpu: { msrs: { [MSR_KVM_SYSTEM_TIME_NEW]: msr } } });
      },
    },
  },
];

for (const { what, noticedBy, module } of MISTAKES)
  test(`${what}: noticed by "${noticedBy}"`, async () => {
    const entry = cases.find(({ name }) => name === noticedBy);
    assert.ok(entry, 'there is such a case');
    assert.equal(skipReason(entry, createFixture(module, entry.processors)), undefined);
    const boot = () => bootFixture(module, entry.processors);
    await assert.rejects(async () => entry.run(await boot(), boot));
  });
