/**
 * A trace in the Trace Event Format that Chrome's about:tracing and Perfetto open: a track for each op, an event a crossing,
 * guest time as the clock. Instructions, address and arguments are the event's.
 */
import { functionOf, questionOf } from './describe.ts';
import type { Trace } from './format.ts';

/** @yields the JSON text in pieces */
export function* chromeTrace({ header, records }: Trace): Generator<string> {
  const tracks = new Map<string, number>();
  yield `{"displayTimeUnit":"ns","otherData":${JSON.stringify(header)},"traceEvents":[\n`;
  yield event({
    ph: 'M',
    name: 'process_name',
    pid: 1,
    tid: 0,
    args: { name: `${header.kernel} on ${header.hypervisor}` },
  });
  for (const record of records) {
    const { kind, place, values, instructions, time, result } = record;
    let track = tracks.get(kind.operation);
    if (track === undefined) {
      tracks.set(kind.operation, (track = tracks.size + 1));
      yield `,\n${event({ ph: 'M', name: 'thread_name', pid: 1, tid: track, args: { name: kind.operation } })}`;
    }
    const args = Object.fromEntries([
      ['instructions', instructions],
      ['at', place.symbol ?? `0x${place.address.toString(16)}`],
      ...kind.arguments.map((name, index) => [name, `0x${(values[index] ?? 0n).toString(16)}`]),
      ...(result === undefined ? [] : [['result', `0x${result.toString(16)}`]]),
    ]) as Record<string, string | number>;
    const name = kind.name ?? questionOf(record);
    yield `,\n${event({ ph: 'X', name, cat: functionOf(record), pid: 1, tid: track, ts: time / 1000, dur: 0.1, args })}`;
  }
  yield '\n]}\n';
}

function event(fields: Record<string, unknown>): string {
  return JSON.stringify(fields);
}
