/** Where our time goes: counters of the machine, and the functions V8's sampler found the processor in. */
import type { Statistics } from '../src/index.ts';
import type { Table } from './bench.ts';
import type { Run } from './guest.ts';

/** The part of V8's profile that is used (Chrome DevTools protocol, Profiler.Profile). */
export interface CpuProfile {
  nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number }; hitCount?: number }[];
}

/** How many functions are shown. */
const TOP = 15;
/** More functions than a module of regions has (jit.ts). */
const MOST_REGIONS = 200;

export function profileTables(name: string, { seconds, counters, profile }: Run): Table[] {
  return [counterTable(name, seconds, counters!), functionTable(name, profile!)];
}

function counterTable(name: string, seconds: number, counters: Statistics): Table {
  const { instructions, hypervisor: _, ...rest } = counters;
  const rows = [['instructions', instructions.toLocaleString('en'), `${(instructions / seconds / 1e6).toFixed(1)} M`]];
  for (const [key, value] of Object.entries(rest)) {
    if (typeof value === 'number' && value !== 0)
      rows.push([key, value.toLocaleString('en'), (value / seconds).toFixed(0)]);
    if (typeof value !== 'object') continue;
    const counts = Object.entries(value as Record<string, number>).filter(([, count]) => count > 0);
    for (const [what, count] of counts.sort(([, a], [, b]) => b - a))
      rows.push([`${key}: ${what}`, count.toLocaleString('en'), (count / seconds).toFixed(0)]);
  }
  return { title: `${name}: counters in ${seconds.toFixed(3)} s`, header: ['', 'count', 'a second'], rows };
}

/** By the time spent in the function itself. */
function functionTable(name: string, { nodes }: CpuProfile): Table {
  const hits = new Map<string, number>();
  let all = 0;
  let translated = 0;
  const interpreters = interpretersIn(nodes);
  for (const { callFrame, hitCount = 0 } of nodes) {
    const isTranslated = callFrame.functionName.startsWith('wasm-function') && !interpreters.has(callFrame.url);
    if (isTranslated) translated += hitCount;
    const where = callFrame.url ? ` ${callFrame.url.replace(/.*\//, '')}:${callFrame.lineNumber + 1}` : '';
    const key = `${callFrame.functionName || '(unnamed)'}${where}`;
    hits.set(key, (hits.get(key) ?? 0) + hitCount);
    all += hitCount;
  }
  const most = [...hits].sort(([, a], [, b]) => b - a).slice(0, TOP);
  const share = (count: number) => `${((100 * count) / all).toFixed(1)} %`;
  const rows = [['translated code, in all', share(translated)], ...most.map(([key, count]) => [key, share(count)])];
  return { title: `${name}: where the processor was, of ${all} samples`, header: ['', 'itself'], rows };
}

/** The interpreters' modules: no module of regions has as many functions. */
function interpretersIn(nodes: CpuProfile['nodes']): Set<string> {
  const found = nodes.filter(
    ({ callFrame }) => Number(/^wasm-function\[(\d+)\]/.exec(callFrame.functionName)?.[1]) > MOST_REGIONS,
  );
  return new Set(found.map(({ callFrame }) => callFrame.url));
}
