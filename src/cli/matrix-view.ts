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
  const names = specs.map(({ kernel, hypervisor }) => `${kernel} ${hypervisor}`);
  const width = Math.max(...names.map(name => name.length), 0);
  const live = stream.isTTY;
  let drawn = 0;
  let tick = 0;

  const describe = (index: number): string => {
    const { state, started, progress, result } = rows[index]!;
    const name = names[index]!.padEnd(width);
    if (result) {
      const colour = result.verdict === 'passed' ? GREEN : isGood(result.verdict) ? GREY : RED;
      const mark = result.verdict === 'passed' ? '✔' : isGood(result.verdict) ? '–' : '✘';
      const time = result.phases.length > 0 ? `  ${formatSeconds(result.total.hostTime)}` : '';
      const text = `${mark} ${name}  ${result.verdict}${time}${result.reason ? `  ${result.reason}` : ''}`;
      return live ? `${colour}${clip(text)}${PLAIN}` : text;
    }
    if (state === 'waiting') return live ? `${GREY}${clip(`  ${name}  waiting`)}${PLAIN}` : `  ${name}  waiting`;
    const seconds = ((performance.now() - started) / 1000).toFixed(0).padStart(4);
    const line = progress?.line.replace(/^\[ *[\d.]+\] /, '') ?? '';
    return clip(
      `${SPINNER[tick % SPINNER.length]} ${name} ${seconds} s  ${(progress?.phase ?? 'start').padEnd(22)} ${line}`,
    );
  };
  const clip = (text: string) => [...text].slice(0, (stream.columns || 80) - 1).join('');
  const draw = () => {
    tick++;
    const up = drawn > 0 ? `\x1b[${drawn}A` : '';
    // Rows that do not fit are not drawn: the cursor cannot go above the screen.
    const shown = visible();
    stream.write(`${up}${shown.map(index => `\x1b[K${describe(index)}\n`).join('')}`);
    drawn = shown.length;
  };
  const visible = () => {
    const most = Math.max(1, (stream.rows || 24) - 2);
    const all = rows.map((_, index) => index);
    if (all.length <= most) return all;
    const first = Math.max(
      0,
      rows.findIndex(({ state }) => state === 'running'),
    );
    return all.slice(Math.min(first, all.length - most), Math.min(first, all.length - most) + most);
  };
  const timer = live ? setInterval(draw, INTERVAL) : undefined;
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
      if (!live) stream.write(`polyvisor: ${describe(index)}\n`);
    },
    close() {
      clearInterval(timer);
      if (live) draw();
    },
  };
}
