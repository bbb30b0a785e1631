/** docs/interface.md: what each hypervisor changes, op by op, register by register, hypercall by hypercall. */
import { bareTable, type Comparison, compare, GROUPS, hypervisors, tableOf } from '../src/index.ts';

export function interfaceDocument(): string {
  const all = hypervisors.map(module => compare(tableOf(module), bareTable));
  return `# What each hypervisor changes

Made from the tables in \`src/hypervisors/\` by \`npm run docs\`; \`polyvisor list\` prints the same.

${overview(all)}
${all.map(section).join('\n')}`;
}

/** The ops that anybody changes, against the hypervisors. */
function overview(all: readonly Comparison[]): string {
  const rows = GROUPS.flatMap(group => {
    const names = new Set(
      all.flatMap(({ operations }) => operations.filter(o => o.group === group).map(o => o.operation)),
    );
    return [...names].map(operation => {
      const cells = all.map(({ operations }) => {
        const difference = operations.find(o => o.group === group && o.operation === operation);
        return difference === undefined ? '' : `${difference.answer}`;
      });
      return line([`\`${group}.${operation}\``, ...cells]);
    });
  });
  return `${line(['operation', ...all.map(({ name }) => name)])}${line(['---', ...all.map(() => '---')])}${rows.join('')}`;
}

function section({ name, title, platform, console, msrs, hypercalls }: Comparison): string {
  const registers = msrs.map(msr => line([`\`0x${msr.index.toString(16)}\``, `\`${msr.name}\``, msr.access]));
  const calls = hypercalls.map(call =>
    line([
      `${call.number}`,
      `\`${call.name}\``,
      call.arguments.join(', '),
      `${call.status}${call.note ? `: ${call.note}` : ''}`,
    ]),
  );
  return `
## ${name}

${title}. Platform: \`${platform}\`; console: \`${console}\`.
${registers.length > 0 ? `\n${line(['MSR', 'name', 'access'])}${line(['---', '---', '---'])}${registers.join('')}` : ''}${
  calls.length > 0
    ? `\n${line(['hypercall', 'name', 'arguments', 'state'])}${line(['---', '---', '---', '---'])}${calls.join('')}`
    : ''
}`;
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |\n`;
}
