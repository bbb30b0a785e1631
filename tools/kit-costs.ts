/**
 * npm run kit: builds the kit, runs its example on each hypervisor on three processors, and makes kit/COSTS.md of the tables that it
 * prints. With the virtual clock a tick is an instruction of all processors together, so that the numbers are the same everywhere.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hypervisors } from '../src/hypervisors/list.ts';
import { createMachine } from '../src/machine/machine.ts';
import { buildKit, type Cost, costsIn, kitFolder } from '../tests/kit.ts';

const PROCESSORS = 3;

async function costsOn(kernel: Uint8Array, hypervisor: string): Promise<Cost[]> {
  let text = '';
  const console = {
    onInput: () => {},
    write: (data: Uint8Array) => void (text += new TextDecoder('latin1').decode(data)),
  };
  const machine = await createMachine({ kernel, hypervisor, cpus: PROCESSORS, memory: 64 << 20, console });
  await machine.run();
  return costsIn(text);
}

/** With VMI there is one processor. */
const names = hypervisors.flatMap(({ name, isRelative }) => (isRelative || name === 'vmi' ? [] : [name]));
const { folder, remove } = buildKit();
try {
  const kernel = readFileSync(join(folder, 'example.elf'));
  const tables = await Promise.all(names.map(name => costsOn(kernel, name)));
  const cell = (cost: Cost | undefined) =>
    `${cost?.here ?? '–'}${cost?.natively === undefined ? '' : ` (${cost.natively})`}`;
  const line = (...cells: string[]) => `| ${cells.join(' | ')} |\n`;
  const rows = tables[0]!.map(({ operation }, index) =>
    line(`\`${operation}\``, ...tables.map(table => cell(table[index]))),
  );
  writeFileSync(
    join(kitFolder, 'COSTS.md'),
    `# What each operation costs

Made by \`npm run kit\` in a clone of Polyvisor: the example on ${PROCESSORS} processors of each of its hypervisors. The first number is what
\`pv_ops\` was filled with, the one in brackets is bare hardware's way on the same machine; – is what cannot be done there.

A number is ticks of a clock that counts instructions, divided among the processors that execute. What happens outside of the guest
costs nothing on it: a hypercall is one instruction. So it says how much code and how much waiting for others an operation
takes; cycles of real hardware are what the same \`example.elf\` prints there. The clock of the 10 ms that bare hardware wants between the
messages that start a processor shows in \`smp.start\`.

${line('operation', ...names)}${line('---', ...names.map(() => '---:'))}${rows.join('')}`,
  );
} finally {
  remove();
}
