/**
 * kit/include/interface.h: the numbers and structures of the hypervisors' interfaces for guests in C, from the tables and the
 * declarations by which the hypervisors here answer them.
 */
import { readFileSync } from 'node:fs';
import { CONSOLE_OUT } from '../src/devices/xen/console-ring.ts';
import { JAILHOUSE_SETUP } from '../src/hypervisors/jailhouse/setup-data.ts';
import { findHypervisor } from '../src/hypervisors/list.ts';
import { layout64 } from '../src/hypervisors/xen/shared-info.ts';
import { REGISTERS_64 } from '../src/hypervisors/xen-pvh/initialise.ts';
import { tableOf } from '../src/paravirt/compare.ts';

const root = new URL('../../src/', import.meta.url);

/** What one file declares: constants whose names match, under these names behind a prefix, and all its structures. */
interface Source {
  file: string;
  names?: RegExp;
  prefix?: string;
  structures?: RegExp;
}

interface Part {
  title: string;
  /** Whose registers and hypercalls are listed. */
  hypervisors: readonly string[];
  sources: readonly Source[];
  /** What stands in objects of the sources. */
  more?: () => readonly string[];
}

const define = (name: string, value: number) => `#define ${name} 0x${value.toString(16)}\n`;

const PARTS: readonly Part[] = [
  {
    title: 'The clock record of KVM and Xen',
    hypervisors: [],
    sources: [{ file: 'paravirt/pvclock.ts', names: /^PVCLOCK_/ }],
  },
  {
    title: 'KVM',
    hypervisors: ['kvm'],
    sources: [
      { file: 'hypervisors/kvm/cpu.ts', names: /^KVM_(CPUID|FEATURE)_/ },
      { file: 'hypervisors/kvm/steal-time.ts', names: /^KVM_VCPU_/ },
      { file: 'hypervisors/kvm/steal-time.ts', names: /^(VERSION|PREEMPTED)$/, prefix: 'KVM_STEAL_' },
    ],
  },
  {
    title: 'VMware',
    hypervisors: ['vmware'],
    sources: [
      { file: 'hypervisors/vmware/cpu.ts', names: /^CPUID_VMWARE_/ },
      { file: 'hypervisors/vmware/backdoor.ts', names: /^VMWARE_HYPERVISOR_/ },
      { file: 'hypervisors/vmware/time.ts', names: /^STEALCLOCK_/ },
    ],
  },
  {
    title: 'Hyper-V',
    hypervisors: ['hyperv'],
    sources: [
      { file: 'hypervisors/hyperv/cpuid.ts', names: /^(HYPERV_CPUID|HV)_/ },
      { file: 'hypervisors/hyperv/timers.ts', names: /^(ENABLE|AUTO_ENABLE|DIRECT_MODE)$/, prefix: 'HV_STIMER_' },
      { file: 'hypervisors/hyperv/reference-time.ts', names: /^(SCALE|OFFSET)$/, prefix: 'HV_REFERENCE_TSC_' },
    ],
  },
  { title: 'ACRN', hypervisors: [], sources: [{ file: 'hypervisors/acrn/cpu.ts', names: /^ACRN_CPUID_/ }] },
  {
    title: 'Jailhouse',
    hypervisors: ['jailhouse'],
    sources: [
      { file: 'hypervisors/jailhouse/cpu.ts', names: /^JAILHOUSE_CPUID_/ },
      { file: 'hypervisors/jailhouse/setup-data.ts', names: /^SETUP_JAILHOUSE$/ },
    ],
    more: () =>
      Object.entries(JAILHOUSE_SETUP).map(([name, offset]) => define(`JAILHOUSE_SETUP_${name.toUpperCase()}`, offset)),
  },
  {
    title: 'Xen',
    hypervisors: ['xen-pv', 'xen-pvh'],
    sources: [
      { file: 'hypervisors/xen/constants.ts', names: /^(DOMID_SELF|VIRQ_TIMER)$/ },
      { file: 'hypervisors/xen/shared-info.ts', names: /^VCPU_INFO_/ },
      { file: 'hypervisors/xen/domain.ts', names: /^VCPUS_IN_SHARED_INFO$/, prefix: 'XEN_' },
      { file: 'hypervisors/xen/time.ts', structures: /^vcpu_runstate_info$/ },
      { file: 'hypervisors/xen/hypercalls/vcpu-op.ts', names: /^VCPUOP_/, structures: /./ },
      { file: 'hypervisors/xen/hypercalls/sched-op.ts', names: /^S(CHEDOP|HUTDOWN)_/, structures: /./ },
      { file: 'hypervisors/xen/hypercalls/event-channel-op.ts', names: /^EVTCHNOP_/, structures: /_(ipi|virq|port)$/ },
      { file: 'hypervisors/xen/hypercalls/console-io.ts', names: /^CONSOLEIO_/ },
      {
        file: 'hypervisors/xen/hypercalls/memory-op.ts',
        names: /^XENM(EM_(add_to_physmap|memory_map)$|APSPACE_)/,
        structures: /^xen_(add_to_physmap|memory_map)$/,
      },
      { file: 'hypervisors/xen-pvh/hvm-op.ts', names: /^(HVMOP|HVM_PARAM)_/, structures: /^xen_hvm_param$/ },
      { file: 'hypervisors/xen-pvh/initialise.ts', names: /^MODE_64B$/, prefix: 'VCPU_HVM_' },
      { file: 'hypervisors/xen-pv/abi64.ts', names: /^FLAT_/ },
      { file: 'hypervisors/xen-pv/cpu-hypercalls.ts', names: /^SEGBASE_/, structures: /^trap_info$/ },
      { file: 'hypervisors/xen-pv/mmu-hypercalls.ts', names: /^(MMUEXT|UVMF)_/ },
      { file: 'hypervisors/xen-pv/initialise.ts', names: /^VGCF_/ },
      { file: 'hypervisors/xen-pv/initialise.ts', names: /^(?!VGCF_)/, prefix: 'VCPU_GUEST_CONTEXT_' },
    ],
    more: () => [
      define('XEN_EVTCHN_PENDING', layout64.evtchnPending),
      define('XEN_EVTCHN_MASK', layout64.evtchnMask),
      define('XEN_WALLCLOCK', layout64.wallclock),
      define('XEN_WALLCLOCK_HIGH', layout64.wallclockHigh),
      define('XEN_PENDING_SEL', layout64.pendingSel),
      define('XEN_CONSOLE_OUT_DATA', CONSOLE_OUT.data),
      define('XEN_CONSOLE_OUT_SIZE', CONSOLE_OUT.size),
      define('XEN_CONSOLE_OUT_CONSUMER', CONSOLE_OUT.consumer),
      define('XEN_CONSOLE_OUT_PRODUCER', CONSOLE_OUT.producer),
      vcpuHvmContext(),
      startInfo(),
    ],
  },
];

/** The header, whole. */
export function kitHeader(): string {
  return `/*
 * Numbers and structures of the interfaces of hypervisors, by the names that their specifications give them,
 * for 64-bit guests. Made from Polyvisor's tables by npm run docs: do not edit.
 */
#pragma once
#include <stdint.h>
${PARTS.map(partText).join('')}`;
}

function partText({ title, hypervisors, sources, more }: Part): string {
  const defines = new Map<string, string>();
  for (const name of hypervisors) {
    const { msrs, hypercalls } = tableOf(findHypervisor(name)!).cpu;
    for (const table of [msrs, hypercalls])
      for (const [index, entry] of Object.entries(table)) defines.set(entry.name, define(entry.name, Number(index)));
  }
  const structures: string[] = [];
  for (const source of sources) {
    const text = readFileSync(new URL(source.file, root), 'utf8');
    for (const [name, value] of constantsOf(text)) {
      const full = `${source.prefix ?? ''}${name}`;
      if (source.names?.test(name) && !defines.has(full)) defines.set(full, define(full, value));
    }
    if (source.structures)
      for (const [name, fields] of structuresOf(text))
        if (source.structures.test(name)) structures.push(struct(name, fields));
  }
  return `\n/* ${title} */\n\n${[...defines.values()].join('')}${more?.().join('') ?? ''}${structures.join('')}`;
}

/** Top-level constants that are a number, or one operation on numbers and constants before them. */
function constantsOf(text: string): Map<string, number> {
  const found = new Map<string, number>();
  const numberOf = (word: string): number | undefined =>
    /^\d/.test(word) ? Number(word.replace(/[n_]/g, '')) : found.get(word);
  for (const [, name, first, operator, second] of text.matchAll(
    /^(?:export )?const ([A-Z]\w+) = (\w+)(?: (<<|\+) (\w+))?;$/gm,
  )) {
    const [a, b] = [numberOf(first!), operator ? numberOf(second!) : 0];
    if (a === undefined || b === undefined || Number.isNaN(a)) continue;
    found.set(name!, operator === '<<' ? a * 2 ** b : a + b);
  }
  return found;
}

const C_TYPES: Readonly<Record<string, string>> = {
  u8: 'uint8_t',
  u16: 'uint16_t',
  s16: 'int16_t',
  u32: 'uint32_t',
  u64: 'uint64_t',
  ulong: 'uint64_t',
  handle: 'uint64_t',
};

type Fields = readonly (readonly [name: string, kind: string])[];

/** What is declared by structure({ ... }). */
function structuresOf(text: string): Map<string, Fields> {
  const found = new Map<string, Fields>();
  for (const [, name, body] of text.matchAll(/^(?:export )?const (\w+) = structure\(\{([^}]*)\}\);$/gm))
    found.set(
      name!,
      [...body!.matchAll(/(\w+): '(\w+)'/g)].map(([, field, kind]) => [field!, kind!] as const),
    );
  return found;
}

const members = (fields: Fields) => fields.map(([name, kind]) => `  ${C_TYPES[kind]} ${name};\n`).join('');
const struct = (name: string, fields: Fields) => `struct ${name} {\n${members(fields)}};\n`;

/** struct vcpu_hvm_context, as a 64-bit processor's. */
function vcpuHvmContext(): string {
  const registers = REGISTERS_64.map(name => `  uint64_t ${name};\n`).join('');
  return `struct vcpu_hvm_context {\n  uint32_t mode, pad;\n${registers}};\n`;
}

/** struct start_info, whose middle and end are declared. */
function startInfo(): string {
  const parts = structuresOf(readFileSync(new URL('hypervisors/xen-pv/start-info.ts', root), 'utf8'));
  const [middle, end] = [members(parts.get('start_info')!), members(parts.get('start_info_end')!)];
  return `struct start_info {\n  char magic[32];\n${middle}  char cmd_line[1024];\n${end}};\n`;
}
