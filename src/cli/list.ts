/** `polyvisor list`: the hypervisors and what each changes, read off the tables that also run. */
import { bareTable, type Comparison, compare, GROUPS, hypervisors, tableOf } from '../index.ts';
import { print } from './output.ts';

export function listHypervisors(options: { json?: boolean; rom?: boolean }): void {
  if (options.rom) {
    for (const { name, rom } of hypervisors) if (rom) print(`${name}\n\n${rom()}\n`);
    return;
  }
  const all = hypervisors.map(module => compare(tableOf(module), bareTable));
  const texts = all.map((comparison, index) => describe(comparison, hypervisors[index]!.options ?? {}));
  print(options.json ? `${JSON.stringify(all, null, 2)}\n` : `${texts.join('\n\n')}\n`);
}

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
