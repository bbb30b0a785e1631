/** The cells while they run: a row each that changes in a terminal, plain lines in a pipe. On stderr: stdout is the report's. */
import { formatSeconds } from '../matrix/format.ts';
import { type CellResult, isGood } from '../matrix/result.ts';
import type { CellProgress, CellSpec } from './cell.ts';
import type { CellEvents } from './cell-runner.ts';

const INTERVAL = 200;
const SPINNER = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
/** Terminal colours (ECMA-48, SGR). */
const [GREEN, RED, GREY, PLAIN] = ['\x1b[32m', '\x1b[31m', '\x1b[90m', '\x1b[0m'];

interface Row {
  state: 'waiting' | 'running' | 'done';
  started: number;
  progress?: CellProgress;
  result?: CellResult;
}

export interface MatrixView extends CellEvents {
  close(): void;
}

export function createMatrixView(specs: readonly CellSpec[], stream: NodeJS.WriteStream = process.stderr): MatrixView {
  const rows: Row[] = specs.map(() => ({ state: 'waiting', started: 0 }));
  const live = stream.isTTY;
  // In a terminal, where there is little room, what all rows share is said once, above them.
  const kernels = new Set(specs.map(({ kernel }) => kernel));
  const heading = live && kernels.size === 1 ? printable([...kernels][0]!) : undefined;
  const schedules = new Set(specs.map(({ schedule }) => schedule));
  const names = specs.map(({ kernel, hypervisor, schedule }) => {
    const which = schedules.size > 1 ? [hypervisor, 'schedule', schedule] : [hypervisor];
    return printable((heading === undefined ? [kernel, ...which] : which).join(' '));
  });
  const width = Math.max(...names.map(name => name.length), 0);
  /** Lengths of the lines that stand there. */
  let drawn: number[] = [];
  let tick = 0;

  const describe = (index: number): { text: string; colour: string } => {
    const { state, started, progress, result } = rows[index]!;
    const name = names[index]!.padEnd(width);
    if (result) {
      const { verdict, phases, total, reason } = result;
      const passed = verdict === 'passed';
      const mark = passed ? '✔' : isGood(verdict) ? '–' : '✘';
      const time = phases.length > 0 ? `  ${formatSeconds(total.hostTime)}` : '';
      const text = `${mark} ${name}  ${verdict}${time}${reason ? `  ${printable(reason)}` : ''}`;
      return { text, colour: passed ? GREEN : isGood(verdict) ? GREY : RED };
    }
    if (state === 'waiting') return { text: `  ${name}  waiting`, colour: GREY };
    const seconds = ((performance.now() - started) / 1000).toFixed(0).padStart(4);
    const line = printable(progress?.line.replace(/^\[ *[\d.]+\] /, '') ?? '');
    const text = `${SPINNER[tick % SPINNER.length]} ${name} ${seconds} s  ${(progress?.phase ?? 'start').padEnd(22)} ${line}`;
    return { text, colour: '' };
  };
  const plain = (index: number) => describe(index).text.trimEnd();
  /** @param all also what does not fit: the cursor cannot come back to it */
  const draw = (all = false) => {
    tick++;
    const columns = stream.columns || 80;
    const height = stream.rows || 24;
    // A terminal that has become narrower has broken the lines that stand there.
    const taken = drawn.reduce((sum, length) => sum + Math.max(1, Math.ceil(length / columns)), 0);
    const up = Math.min(taken, height - 1);
    const most = Math.max(1, height - 3);
    const shown = all || rows.length <= most ? [...rows.keys()] : visible(most);
    const lines = shown.map(describe);
    if (heading !== undefined) lines.unshift({ text: heading, colour: '' });
    if (shown.length < rows.length) lines.push({ text: `  ${others(shown)}`, colour: GREY });
    drawn = [];
    let out = `${up > 0 ? `\x1b[${up}A` : ''}\r\x1b[J`;
    for (const { text, colour } of lines) {
      const clipped = all ? text : [...text].slice(0, columns - 1).join('');
      drawn.push(clipped.length);
      out += `${colour}${clipped}${colour && PLAIN}\n`;
    }
    stream.write(out);
  };
  /** As many rows as there is room for, from the first that runs on. */
  const visible = (most: number) => {
    const first = rows.findIndex(({ state }) => state === 'running');
    const from = Math.max(0, Math.min(first, rows.length - most));
    return [...rows.keys()].slice(from, from + most);
  };
  const others = (shown: readonly number[]) => {
    const hidden = rows.filter((_, index) => !shown.includes(index));
    const count = (wanted: Row['state']) => hidden.filter(({ state }) => state === wanted).length;
    const kinds = (['done', 'running', 'waiting'] as const).filter(state => count(state) > 0);
    return `and ${kinds.map(state => `${count(state)} ${state}`).join(', ')}`;
  };
  const timer = live ? setInterval(() => draw(), INTERVAL) : undefined;
  return {
    started(index) {
      rows[index] = { state: 'running', started: performance.now() };
      if (!live) stream.write(`polyvisor: ${names[index]}: started\n`);
    },
    progress(index, progress) {
      const row = rows[index]!;
      const before = row.progress?.phase;
      row.progress = progress;
      if (!live && before !== progress.phase && !progress.phase.includes(':'))
        stream.write(`polyvisor: ${names[index]}: ${progress.phase}, ${formatSeconds(progress.cost.hostTime)}\n`);
    },
    ended(index, result) {
      rows[index] = { ...rows[index]!, state: 'done', result };
      if (!live) stream.write(`polyvisor: ${plain(index)}\n`);
    },
    close() {
      clearInterval(timer);
      if (live) draw(true);
    },
  };
}

/** What a guest prints moves no cursor and takes a column a character: no control characters, nothing beyond Latin-1. */
function printable(text: string): string {
  return text
    .replace(/[\p{Cc}\s]+/gu, ' ')
    .replace(/[^\x20-\x7e\xa1-\xac\xae-\xff]/gu, '?')
    .trim();
}
