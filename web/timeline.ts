/** Crossings over time: a column for each report, stacked by group, the newest at the right. */
import { element } from './dom.ts';
import { short } from './numbers.ts';
import { GROUPS } from './waist-view.ts';

const COLUMN = 3;
const GAP = 1;
const HEIGHT = 116;
/** Columns that are kept: as many as the widest screen shows. */
const MOST = 1000;

export interface Timeline {
  readonly element: HTMLElement;
  /** @param totals as `WaistView.update` returns them */
  add(totals: readonly number[]): void;
}

export function createTimeline(): Timeline {
  const kinds = [...GROUPS.filter(group => group !== 'boot'), 'hardware'];
  const canvas = element('canvas', { role: 'img', 'aria-label': 'Crossings over time' });
  const most = element('span', { class: 'most' });
  const keys = kinds.map(kind =>
    element('span', { class: 'key', 'data-group': kind }, kind === 'hardware' ? 'not the hypervisor' : kind),
  );
  const made = element('figure', { class: 'timeline' }, canvas, element('figcaption', {}, ...keys, most));
  const columns: number[][] = [];
  let before: readonly number[] | undefined;
  const draw = () => {
    const { clientWidth: width } = canvas;
    const scale = devicePixelRatio;
    if (width === 0) return;
    canvas.width = width * scale;
    canvas.height = HEIGHT * scale;
    const context = canvas.getContext('2d')!;
    context.scale(scale, scale);
    const style = getComputedStyle(canvas);
    const seen = columns.slice(-Math.floor(width / (COLUMN + GAP)));
    const highest = Math.max(1, ...seen.map(sum));
    for (const [index, column] of seen.entries()) {
      const x = width - (seen.length - index) * (COLUMN + GAP);
      const total = sum(column);
      // By the root: one is still seen beside a thousand.
      let y = HEIGHT;
      const height = Math.sqrt(total / highest) * (HEIGHT - 4);
      for (const [kind, times] of column.entries()) {
        const part = total > 0 ? (times / total) * height : 0;
        context.fillStyle = style.getPropertyValue(`--${kinds[kind]!}`);
        context.fillRect(x, y - part, COLUMN, part);
        y -= part;
      }
    }
    context.fillStyle = style.getPropertyValue('--line');
    context.fillRect(0, HEIGHT - 1, width, 1);
    most.textContent = columns.length > 0 ? `at most ${short(highest * 10)}/s` : '';
  };
  new ResizeObserver(draw).observe(canvas);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
  return {
    element: made,
    add(totals) {
      // Without the group that is asked before there is a machine.
      const counted = totals.filter((_, index) => GROUPS[index] !== 'boot');
      if (before) columns.push(counted.map((value, index) => Math.max(0, value - before![index]!)));
      before = counted;
      if (columns.length > 2 * MOST) columns.splice(0, MOST);
      draw();
    },
  };
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
