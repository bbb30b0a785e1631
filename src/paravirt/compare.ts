/** What a hypervisor changes, read off its table: for `polyvisor list`, the documentation and the conformance suite. */

import { MachineClock } from '../clock.ts';
import { NO_BACK_ENDS } from '../host/back-ends.ts';
import { createLog } from '../host/log.ts';
import { Bus } from '../memory/bus.ts';
import { GuestMemory } from '../memory/memory.ts';
import { ownMember } from '../own-member.ts';
import { StateStore } from '../state/state.ts';
import { PAGE_SIZE } from '../x86/paging.ts';
import { GROUPS, type GroupName } from './group.ts';
import { native, nothing } from './native.ts';
import type { Hypercall, HypervisorContext, HypervisorModule, Paravirt } from './operations.ts';

/** Members of a group that are tables and not ops. */
const DESCRIPTIONS: ReadonlySet<string> = new Set(['msrs', 'hypercalls', 'convention']);

export interface OperationDifference {
  group: GroupName;
  operation: string;
  /** How it answers: with a function of its own, with no code, natively again, or with another value. */
  answer: 'function' | 'nothing' | 'native' | string | number;
}

export interface Comparison {
  name: string;
  title: string;
  platform: string;
  console: string;
  operations: OperationDifference[];
  msrs: { index: number; name: string; access: 'read' | 'write' | 'read-write' }[];
  hypercalls: (Hypercall & { number: number })[];
}

/** One machine's instance of a hypervisor that no machine runs: its table can be read, its ops must not be called. */
export function tableOf(module: HypervisorModule): Paravirt {
  const memory = new GuestMemory(new ArrayBuffer(PAGE_SIZE), 0, PAGE_SIZE);
  const log = createLog();
  const states = new StateStore();
  const context: HypervisorContext = {
    cpus: [],
    memory,
    clock: new MachineClock(() => 0, 0n),
    state: (name, version, initial) => states.state(name, version, initial),
    console: { write() {}, onInput() {} },
    backEnds: NO_BACK_ENDS,
    mmio: new Bus('mmio', log),
    ports: new Bus('port', log),
    edge() {},
    unplug() {},
    log,
    kill() {},
    request() {},
  };
  return module.make(context);
}

export function compare(table: Paravirt, base: Paravirt): Comparison {
  const operations: OperationDifference[] = [];
  for (const group of GROUPS) {
    const original: Record<string, unknown> = { ...base[group] };
    for (const [operation, value] of Object.entries(table[group]))
      if (!DESCRIPTIONS.has(operation) && value !== ownMember(original, operation))
        operations.push({ group, operation, answer: answerOf(value) });
  }
  const msrs = Object.entries(table.cpu.msrs)
    .filter(([index, msr]) => base.cpu.msrs[Number(index)] !== msr)
    .map(([index, msr]) => ({ index: Number(index), name: msr.name, access: accessOf(msr) }));
  const hypercalls = Object.entries(table.cpu.hypercalls).map(([number, call]) => ({
    number: Number(number),
    ...call,
  }));
  return {
    name: table.name,
    title: table.title,
    platform: table.boot.platform,
    console: table.boot.console,
    operations,
    msrs,
    hypercalls,
  };
}

function answerOf(value: unknown): OperationDifference['answer'] {
  if (value === native) return 'native';
  if (value === nothing) return 'nothing';
  if (Array.isArray(value)) return value.map(each => (typeof each === 'string' ? each : each.name)).join(', ');
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  return typeof value === 'number' || typeof value === 'string' ? value : 'function';
}

function accessOf(msr: { read?: unknown; write?: unknown }): 'read' | 'write' | 'read-write' {
  if (msr.read && msr.write) return 'read-write';
  return msr.read ? 'read' : 'write';
}
