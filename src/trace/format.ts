/**
 * The trace file: text, a line an entry, short because what repeats is written once and then called by its number.
 *
 *     polyvisor trace 1 {"hypervisor":"kvm","kernel":"…"}     what was traced
 *     K NUMBER OPERATION NAME ARGUMENT…                       a kind of crossing; NAME is - where there is none
 *     A NUMBER ADDRESS SYMBOL CALLER                          where the guest was; SYMBOL is - where none is known, and
 *                                                             CALLER is there where the symbol is a wrapper's
 *     KIND PLACE INSTRUCTIONS TIME VALUE… =RESULT             a crossing
 *
 * Numbers of kinds and places are in base 36. INSTRUCTIONS and TIME (ns of the guest's) count from the crossing before, in
 * base 36; VALUES and RESULT are hexadecimal, and RESULT is there only where there is one.
 */
import type { Symbols } from '../boot/symbols.ts';
import type { Crossing } from '../paravirt/trace.ts';
import { isWrapper } from './wrappers.ts';

export const TRACE_VERSION = 1;
const MAGIC = 'polyvisor trace';

export interface TraceHeader {
  hypervisor: string;
  kernel: string;
  clock: string;
}

export interface TraceKind {
  operation: string;
  name: string | undefined;
  arguments: readonly string[];
}

export interface TracePlace {
  address: bigint;
  symbol: string | undefined;
  /** Who called, as a symbol: where `symbol` is a function that asks on behalf of others. */
  caller: string | undefined;
}

/** Who was at work: code before the kernel's own addresses exist, the kernel, or a program of the guest's. */
export type Author = 'entry' | 'kernel' | 'program';

export interface TraceRecord {
  kind: TraceKind;
  place: TracePlace;
  by: Author;
  /** Since the machine's start. */
  instructions: number;
  /** Guest time in ns. */
  time: number;
  values: readonly bigint[];
  result: bigint | undefined;
}

export interface Trace {
  header: TraceHeader;
  records: TraceRecord[];
}

/** Places beyond this many are written out each time: a guest chooses its addresses. */
const MOST_PLACES = 1 << 17;

/** @param write gets text, in pieces of a line or more */
export function createTraceWriter(write: (text: string) => void, header: TraceHeader, symbols?: Symbols) {
  const kinds = new Map<string, string>();
  const places = new Map<string, string>();
  let lastInstructions = 0;
  let lastTime = 0;
  let nextPlace = 0;
  write(`${MAGIC} ${TRACE_VERSION} ${JSON.stringify(header)}\n`);

  const kindOf = ({ operation, name, arguments: args }: Crossing): string => {
    const description = [operation.replaceAll(' ', '_'), name ?? '-', ...Object.keys(args)].join(' ');
    let number = kinds.get(description);
    if (number === undefined) {
      number = kinds.size.toString(36);
      kinds.set(description, number);
      write(`K ${number} ${description}\n`);
    }
    return number;
  };
  /** The innermost caller that asked for itself. */
  const callerOf = ({ address, callers }: Crossing): bigint | undefined => {
    if (!symbols || !isWrapper(symbols.nameAt(address))) return undefined;
    return callers.find(caller => symbols.at(caller) !== undefined && !isWrapper(symbols.nameAt(caller)));
  };
  const placeOf = (crossing: Crossing): string => {
    const { address } = crossing;
    const caller = callerOf(crossing);
    const key = `${address} ${caller ?? ''}`;
    let number = places.get(key);
    if (number === undefined) {
      if (places.size === MOST_PLACES) places.clear();
      number = (nextPlace++).toString(36);
      places.set(key, number);
      const symbol = symbols?.at(address) ?? '-';
      write(`A ${number} ${address.toString(16)} ${symbol}${caller === undefined ? '' : ` ${symbols!.at(caller)}`}\n`);
    }
    return number;
  };

  return (crossing: Crossing, instructions: number): void => {
    const kind = kindOf(crossing);
    const place = placeOf(crossing);
    const time = Math.floor(crossing.time);
    let text = `${kind} ${place} ${(instructions - lastInstructions).toString(36)} ${(time - lastTime).toString(36)}`;
    // By a host's clock nanoseconds have fractions.
    for (const value of Object.values(crossing.arguments))
      text += ` ${(typeof value === 'number' ? Math.floor(value) : value).toString(16)}`;
    if (crossing.result !== undefined) text += ` =${crossing.result.toString(16)}`;
    [lastInstructions, lastTime] = [instructions, time];
    write(`${text}\n`);
  };
}

const BASE_36 = /^-?[0-9a-z]{1,11}$/;

export class TraceError extends Error {
  override name = 'TraceError';
}

/** @throws TraceError for what is no trace, or one of another version. A last line that was cut off is left out. */
export function parseTrace(text: string): Trace {
  const firstEnd = text.indexOf('\n');
  const first = text.slice(0, firstEnd < 0 ? text.length : firstEnd);
  const head = /^polyvisor trace (\d+) (\{.*\})$/.exec(first);
  if (!head) throw new TraceError('not a trace: it does not begin with "polyvisor trace"');
  if (Number(head[1]) !== TRACE_VERSION)
    throw new TraceError(`a trace of format ${head[1]}; this is a polyvisor of format ${TRACE_VERSION}`);
  const header = parseHeader(head[2]!);
  const kinds = new Map<string, TraceKind>();
  const places = new Map<string, TracePlace>();
  const records: TraceRecord[] = [];
  let [instructions, time, number] = [0, 0, 1];
  /** The kernel has reached its own addresses. */
  let up = false;
  for (let at = firstEnd + 1; firstEnd >= 0; number++) {
    const end = text.indexOf('\n', at);
    if (end < 0) break;
    const words = text.slice(at, end).split(' ');
    at = end + 1;
    if (words[0] === 'K') {
      const [, id, operation, name, ...args] = words;
      kinds.set(id!, {
        operation: operation!.replaceAll('_', ' '),
        name: name === '-' ? undefined : name,
        arguments: args,
      });
    } else if (words[0] === 'A')
      places.set(words[1]!, {
        address: parseHex(words[2]!, number),
        symbol: words[3] === '-' ? undefined : words[3],
        caller: words[4],
      });
    else {
      const [kind, place] = [kinds.get(words[0]!), places.get(words[1]!)];
      if (!kind || !place) throw new TraceError(`a damaged trace: line ${number + 1} names what was not introduced`);
      if (!BASE_36.test(words[2] ?? ' ') || !BASE_36.test(words[3] ?? ' '))
        throw new TraceError(`a damaged trace: no numbers in line ${number + 1}`);
      instructions += Number.parseInt(words[2]!, 36);
      time += Number.parseInt(words[3]!, 36);
      const rest = words.slice(4);
      const last = rest.at(-1)?.startsWith('=') ? rest.pop()!.slice(1) : undefined;
      const inKernel = place.symbol !== undefined || isKernelAddress(place.address);
      up ||= inKernel;
      records.push({
        kind,
        place,
        by: inKernel ? 'kernel' : up ? 'program' : 'entry',
        instructions,
        time,
        values: rest.map(value => parseHex(value, number)),
        result: last === undefined ? undefined : parseHex(last, number),
      });
    }
  }
  return { header, records };
}

/** Linux's part of the address space: the upper half, or with 32 bits the upper gigabyte. */
const isKernelAddress = (address: bigint) =>
  address >> 63n === 1n || (address >= 0xc0000000n && address <= 0xffffffffn);

function parseHeader(text: string): TraceHeader {
  try {
    const { hypervisor, kernel, clock } = JSON.parse(text) as Record<string, unknown>;
    return { hypervisor: String(hypervisor ?? ''), kernel: String(kernel ?? ''), clock: String(clock ?? '') };
  } catch {
    throw new TraceError('a damaged trace: its first line cannot be read');
  }
}

function parseHex(text: string, line: number): bigint {
  if (!/^-?[0-9a-f]{1,17}$/.test(text))
    throw new TraceError(`a damaged trace: no number "${text}" in line ${line + 1}`);
  return text.startsWith('-') ? -BigInt(`0x${text.slice(1)}`) : BigInt(`0x${text}`);
}
