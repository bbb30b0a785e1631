/** `polyvisor list`: the hypervisors and what each changes, read off the tables that also run. */
import { bareTable, type Comparison, compare, GROUPS, type HypervisorModule, hypervisors, tableOf } from '../index.ts';
import { print } from './output.ts';
import { parseHypervisor } from './values.ts';

export interface ListOptions {
  /** Everything of every hypervisor. */
  all?: boolean;
  /** Everything, as JSON. */
  json?: boolean;
  /** The code of those that are a ROM. */
  rom?: boolean;
}

/** @throws Failure for a name that none has */
export function listHypervisors(names: readonly string[], options: ListOptions): void {
  const { all, json, rom } = options;
  const chosen = names.length === 0 ? hypervisors : names.map(parseHypervisor);
  if (rom) {
    for (const module of chosen) if (module.rom) print(`${module.name}\n\n${module.rom()}\n`);
  } else if (json) print(`${JSON.stringify(chosen.map(comparisonOf), null, 2)}\n`);
  else if (all || names.length > 0)
    print(`${chosen.map(module => describe(comparisonOf(module), module.options ?? {})).join('\n\n')}\n`);
  else {
    const width = Math.max(...chosen.map(({ name }) => name.length));
    for (const { name, title } of chosen) print(`${name.padEnd(width)}  ${title}\n`);
    print('\n"polyvisor list NAME" says what one changes, --all what each does.\n');
  }
}

const comparisonOf = (module: HypervisorModule) => compare(tableOf(module), bareTable);

function describe(hypervisor: Comparison, options: Readonly<Record<string, string>>): string {
  const lines = [`${hypervisor.name}  ${hypervisor.title}`];
  const row = (title: string, entries: readonly string[]) => {
    if (entries.length > 0) lines.push(...wrap(`  ${title.padEnd(11)}`, entries));
  };
  for (const group of GROUPS) {
    const differences = hypervisor.operations.filter(difference => difference.group === group);
    row(
      group,
      differences.map(({ operation, answer }) => (answer === 'function' ? operation : `${operation}: ${answer}`)),
    );
  }
  row(
    'MSRs',
    hypervisor.msrs.map(({ index, name }) => `${name} (0x${index.toString(16)})`),
  );
  row(
    'hypercalls',
    hypervisor.hypercalls.map(({ number, name, status }) => `${number} ${name}${status === 'done' ? '' : ' (partly)'}`),
  );
  if (lines.length === 1) lines.push('  changes nothing');
  for (const [option, text] of Object.entries(options)) lines.push(`  ${hypervisor.name},${option}: ${text}`);
  return lines.join('\n');
}

const WIDTH = 100;

/** `entries` after `title`, separated by commas, in lines of at most WIDTH columns. */
function wrap(title: string, entries: readonly string[]): string[] {
  const lines = [title];
  for (const [index, entry] of entries.entries()) {
    const text = index < entries.length - 1 ? `${entry}, ` : entry;
    const last = lines[lines.length - 1];
    if (last.length + text.length > WIDTH && last.length > title.length) lines.push(' '.repeat(title.length) + text);
    else lines[lines.length - 1] += text;
  }
  return lines.map(line => line.trimEnd());
}
