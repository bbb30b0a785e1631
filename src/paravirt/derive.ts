/**
 * derive(): a hypervisor from another one and the differences. Groups merge member by member; the registers and
 * hypercalls of all groups (group.ts) merge into the processor's tables, entry by entry.
 */
import type { FastPaths } from './fast-paths.ts';
import { GROUPS, type Group, type GroupName, type Tables } from './group.ts';
import type { Paravirt } from './operations.ts';

export type Differences = {
  name: string;
  title: string;
  skip?: Readonly<Record<string, string>>;
  /** Not the base's: what is derived answers otherwise. */
  fastPaths?: FastPaths;
  restoring?(): void;
  restored?(): void;
  requestShutdown?(): boolean;
  requestMemory?(bytes: number): boolean;
} & { [Name in GroupName]?: Group<Name> };

/**
 * The hypervisor that is `base` but for `differences`. Neither argument is changed.
 * @throws Error if two groups have a register or a hypercall of the same number
 */
export function derive(base: Paravirt, differences: Differences): Paravirt {
  const merged = <Name extends GroupName>(group: Name): Paravirt[Name] => {
    const { msrs: _msrs, hypercalls: _hypercalls, ...members } = (differences[group] ?? {}) as Tables;
    return { ...base[group], ...members };
  };
  return {
    name: differences.name,
    title: differences.title,
    boot: merged('boot'),
    cpu: {
      ...merged('cpu'),
      msrs: { ...base.cpu.msrs, ...entriesOf(differences, 'msrs') },
      hypercalls: { ...base.cpu.hypercalls, ...entriesOf(differences, 'hypercalls') },
    },
    mmu: merged('mmu'),
    irq: merged('irq'),
    time: merged('time'),
    smp: merged('smp'),
    restoring() {
      differences.restoring?.();
      base.restoring?.();
    },
    restored() {
      base.restored?.();
      differences.restored?.();
    },
    requestShutdown: () => differences.requestShutdown?.() || (base.requestShutdown?.() ?? false),
    requestMemory: bytes => differences.requestMemory?.(bytes) || (base.requestMemory?.(bytes) ?? false),
    fastPaths: differences.fastPaths,
    skip: { ...base.skip, ...differences.skip },
  };
}

/** One of the tables, from all groups. */
function entriesOf<T extends keyof Tables>(differences: Differences, table: T): NonNullable<Tables[T]> {
  const all: Record<number, unknown> = {};
  for (const group of GROUPS)
    for (const [number, entry] of Object.entries((differences[group] as Tables | undefined)?.[table] ?? {})) {
      if (Object.hasOwn(all, number))
        throw new Error(`${differences.name}: ${group} has an entry ${number} of ${table}, as another group has`);
      all[Number(number)] = entry;
    }
  return all as NonNullable<Tables[T]>;
}
