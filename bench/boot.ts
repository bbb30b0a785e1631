/** From the start of the process to /init, and to the shell's prompt: the same kernel and initial RAM disk for everybody. */
import { ensureGuest } from '../src/host/node/guest.ts';
import { type Bench, OURS, type Row, speedAgainst } from './bench.ts';
import { type Command, ProcessConsole } from './console.ts';
import { hasQemu, polyvisor, qemu } from './peers.ts';
import { timeTables } from './report.ts';
import { v86 } from './v86.ts';

/** In the order in which they come. */
const MARKS = [
  { name: 'to-init', title: 'time to /init', pattern: /Run \/init as init process/ },
  { name: 'to-shell', title: "time to the shell's prompt", pattern: /~ [#$] / },
];

export const boot: Bench = {
  name: 'boot',
  title: "Debian's kernel and the default guest, from the start of the process",
  usual: true,
  async run(context) {
    const { runs, limit, peers, progress, note } = context;
    const guest = await ensureGuest({ progress: ({ text }) => progress(text) });
    note(`kernel ${guest.release}, ${context.memory} MiB, hypervisor ${context.hypervisor}`);
    const commands = [polyvisor(guest, context)];
    if (hasQemu(context)) commands.push(qemu(guest, context));
    const other = peers.includes('v86') ? await v86(context, theirs => theirs) : undefined;
    if (other) commands.push(other);

    const rows: Row[] = MARKS.map(({ name, title }) => ({ group: 'boot', name, title, seconds: {} }));
    // As on any day but the first: the images are in the page cache, and ours has kept what it translated.
    for (const command of commands) {
      progress(`${command.name}, once before`);
      await timeToMarks(command, limit, SETTLED);
    }
    for (let attempt = 1; attempt <= runs; attempt++)
      for (const command of commands) {
        progress(`${command.name}, ${attempt} of ${runs}`);
        const times = await timeToMarks(command, limit);
        for (const [index, { seconds }] of rows.entries()) (seconds[command.name] ??= []).push(times[index]);
      }
    const speed = speedAgainst('qemu-tcg', rows[1]);
    if (speed) note(`to the shell ${OURS} takes ${(1 / speed).toFixed(2)} times as long as qemu-tcg`);
    return { tables: timeTables(rows), data: rows, rows };
  },
};

/** How long a guest is left alone at its prompt before it is ended, in ms. */
const SETTLED = 1500;

/** Seconds from the process's start to each of MARKS; the process ends `rest` ms later. */
async function timeToMarks(command: Command, limit: number, rest = 0): Promise<number[]> {
  const console = new ProcessConsole(command);
  try {
    const times: number[] = [];
    for (const { pattern } of MARKS) times.push((await console.waitFor(pattern, limit)).seconds);
    if (rest) await new Promise(resolve => setTimeout(resolve, rest));
    return times;
  } finally {
    await console.stop();
  }
}
