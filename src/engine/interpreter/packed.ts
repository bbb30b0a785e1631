/**
 * The interpreter's module and what belongs to it as one array of bytes: making it takes longer than reading a file.
 */
import type { InterpreterModule } from './loop.ts';

/** u32: length of the text (JSON: names of the helpers), u32: number of handlers (u16 each), both, and the module. */
const HEADER = 8;

export function pack({ bytes, handlers, helpers }: InterpreterModule): Uint8Array {
  const text = new TextEncoder().encode(JSON.stringify(helpers));
  const out = new Uint8Array(HEADER + text.length + 2 * handlers.length + bytes.length);
  const view = new DataView(out.buffer);
  view.setUint32(0, text.length, true);
  view.setUint32(4, handlers.length, true);
  out.set(text, HEADER);
  handlers.forEach((handler, i) => view.setUint16(HEADER + text.length + 2 * i, handler, true));
  out.set(bytes, HEADER + text.length + 2 * handlers.length);
  return out;
}

/** @param data what `pack` has made, by the same code: nothing is checked */
export function unpack(data: Uint8Array<ArrayBuffer>): InterpreterModule {
  const view = new DataView(data.buffer, data.byteOffset);
  const text = HEADER + view.getUint32(0, true);
  const handlers = new Uint16Array(view.getUint32(4, true));
  for (let i = 0; i < handlers.length; i++) handlers[i] = view.getUint16(text + 2 * i, true);
  return {
    helpers: JSON.parse(new TextDecoder().decode(data.subarray(HEADER, text))) as string[],
    handlers,
    bytes: data.subarray(text + 2 * handlers.length),
  };
}
