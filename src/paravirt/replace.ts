/**
 * A hypervisor with something around each of its functions: a trace, or a guard against plug-ins. What there is to
 * replace comes from the table of ops (operations.ts), so a new op needs nothing here.
 */
import { ownMember } from '../own-member.ts';
import type { AnyOperation } from './operation.ts';
import { type Msr, operations, type Paravirt } from './operations.ts';

/** An op's function without its types: the table of ops says what it is told, by position, and what it answers. */
export type AnyFunction = (...told: readonly unknown[]) => unknown;

/** `table` with `replace` applied to each op that is a function. @param name group and op, `cpu.hypercall` */
export function replaceOperations(
  table: Paravirt,
  replace: (name: string, line: AnyOperation, op: AnyFunction) => AnyFunction,
): Paravirt {
  const groups = Object.entries(operations).map(([group, lines]) => {
    const members = table[group as keyof typeof operations] as unknown as Readonly<Record<string, unknown>>;
    const replaced = Object.entries(lines as Readonly<Record<string, AnyOperation>>).flatMap(([member, line]) => {
      const op = ownMember(members, member);
      return typeof op === 'function' ? [[member, replace(`${group}.${member}`, line, op as AnyFunction)]] : [];
    });
    return [group, { ...members, ...Object.fromEntries(replaced) }];
  });
  return { ...table, ...(Object.fromEntries(groups) as Pick<Paravirt, keyof typeof operations>) };
}

/** `table` with `replace` applied to each of its model-specific registers. */
export function replaceMsrs(table: Paravirt, replace: (index: number, msr: Msr) => Msr): Paravirt {
  const msrs = Object.entries(table.cpu.msrs).map(([index, msr]) => [index, replace(Number(index), msr)] as const);
  return { ...table, cpu: { ...table.cpu, msrs: Object.fromEntries(msrs) } };
}
