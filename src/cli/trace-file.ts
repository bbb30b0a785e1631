/** --trace: every crossing of the waist as a line of JSON, in the order they happened. */
import { closeSync, openSync, writeSync } from 'node:fs';
import type { Crossing } from '../paravirt/trace.ts';
import { status } from './exit-status.ts';
import { withFile } from './failure.ts';

/** Lines are gathered to about this many characters before they are written. */
const CHUNK = 1 << 16;

export interface TraceFile {
  add(crossing: Crossing): void;
  close(): void;
}

export function openTraceFile(path: string): TraceFile {
  const descriptor = withFile(path, status.output, () => openSync(path, 'w'));
  let text = '';
  const flush = () => {
    if (text !== '') withFile(path, status.output, () => writeSync(descriptor, text));
    text = '';
  };
  return {
    add(crossing) {
      text += `${JSON.stringify(crossing, numbersAsText)}\n`;
      if (text.length >= CHUNK) flush();
    },
    close() {
      flush();
      closeSync(descriptor);
    },
  };
}

/** JSON has no 64-bit numbers: what is a bigint is written in hexadecimal. */
function numbersAsText(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? `0x${value.toString(16)}` : value;
}
