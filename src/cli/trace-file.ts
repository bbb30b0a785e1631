/** --trace: every crossing of the waist, written as it happens (trace/format.ts says how). */
import { closeSync, writeSync } from 'node:fs';
import type { KernelImage } from '../boot/image.ts';
import { kernelSymbols, parseSystemMap, type Symbols } from '../boot/symbols.ts';
import type { Crossing } from '../paravirt/trace.ts';
import { createTraceWriter, type TraceHeader } from '../trace/format.ts';
import { status } from './exit-status.ts';
import { withFile } from './failure.ts';
import { openOutput } from './output-file.ts';

/** Text is gathered to about this many characters before it is written. */
const CHUNK = 1 << 16;

export interface TraceFile {
  /** @param instructions executed when it happened */
  add(crossing: Crossing, instructions?: number): void;
  /** To be called before the machine runs. */
  begin(machine: { readonly instructions: number }, header: TraceHeader, symbols: Symbols): void;
  close(): void;
}

export function openTraceFile(path: string): TraceFile {
  const descriptor = openOutput(path);
  let text = '';
  const flush = () => {
    if (text !== '') withFile(path, status.output, () => writeSync(descriptor, text));
    text = '';
  };
  let record: TraceFile['add'] = () => {};
  return {
    add: (crossing, instructions) => record(crossing, instructions),
    begin(machine, header, symbols) {
      const write = createTraceWriter(
        piece => {
          text += piece;
          if (text.length >= CHUNK) flush();
        },
        header,
        symbols,
      );
      record = (crossing, instructions = machine.instructions) => write(crossing, instructions);
    },
    close() {
      flush();
      closeSync(descriptor);
    },
  };
}

/** The symbols of the System.map, where one is named, or else the kernel's own. */
export function symbolsFor(kernel: KernelImage, systemMap: Uint8Array | undefined): Symbols {
  return systemMap ? parseSystemMap(new TextDecoder().decode(systemMap)) : kernelSymbols(kernel);
}
