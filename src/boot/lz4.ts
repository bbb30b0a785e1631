/**
 * LZ4's "legacy" frame, which Linux kernels use for their payload: the magic 0x184c2102, then blocks of {u32 compressed
 * length, LZ4 block}, each at most 8 MiB when unpacked; no checksums, no end mark (lz4_Frame_format.md, "Legacy frame";
 * lz4_Block_format.md). Written here because the packages that exist either read only the newer frame or do not
 * notice a corrupt block: here every length and distance is checked. It is WebAssembly because V8's optimiser is busy
 * with the interpreter while a kernel is unpacked: JavaScript, not optimised, takes 400 ms, this takes 100 ms.
 */
import { Code, type Operand, type Value, type Variable } from '../wasm/code.ts';
import { Body, Module } from '../wasm/module.ts';
import { ImageError } from './image-error.ts';

export const LZ4_LEGACY_MAGIC = 0x184c2102;
/** The most a block of the legacy frame may hold, in bytes. */
const BLOCK_SIZE = 8 << 20;
/** Bytes after the end that copies, of eight bytes at a time, may read and write. */
const SLACK = 64;
const PAGE = 65536;

/** What can be wrong with a block: `unpackBlock` answers -1 - the index. */
const FAULTS = [
  'a literal length runs past its block',
  'literals run past their block',
  'a match is cut off',
  'a match length runs past its block',
  'a match reaches before its block',
  'a match runs past the end',
] as const;

/** Unpacks a whole legacy frame that is known to hold `size` bytes. @throws ImageError when it is corrupt. */
export function decompressLz4Legacy(source: Uint8Array, size: number): Uint8Array {
  const view = new DataView(source.buffer, source.byteOffset, source.byteLength);
  // A byte of LZ4 stands for 255 at most: do not make room for what cannot be there.
  if (size > source.length * 256) throw corrupt(`${source.length} bytes cannot hold ${size}`);
  // The packed bytes come first, then what is made of them.
  const out = Math.ceil((source.length + SLACK) / 8) * 8;
  const memory = new WebAssembly.Memory({ initial: Math.ceil((out + size + SLACK) / PAGE) });
  const bytes = new Uint8Array(memory.buffer);
  bytes.set(source);
  const unpackBlock = instantiate(memory);
  let at = 4;
  let filled = 0;
  while (filled < size) {
    if (at + 4 > source.length) throw corrupt(`it ends after ${filled} of ${size} bytes`);
    const length = view.getUint32(at, true);
    at += 4;
    if (length === LZ4_LEGACY_MAGIC) continue; // Frames may follow each other.
    if (length === 0 || at + length > source.length) throw corrupt(`block length ${length} at byte ${at - 4}`);
    const limit = out + Math.min(size, filled + BLOCK_SIZE);
    const end = unpackBlock(at, at + length, out + filled, limit);
    if (end < 0) throw corrupt(FAULTS[-1 - end]);
    filled = end - out;
    at += length;
  }
  return bytes.subarray(out, out + size);
}

let code: WebAssembly.Module | undefined;

/** (at, end, start, limit) -> where the output of the block [at, end) to [start, limit) ends, or one of FAULTS. */
function instantiate(memory: WebAssembly.Memory): (at: number, end: number, start: number, limit: number) => number {
  if (!code) {
    const module = new Module();
    module.function(unpackBlockBody(), 'unpackBlock');
    code = new WebAssembly.Module(module.encode());
  }
  const { exports } = new WebAssembly.Instance(code, { env: { memory } });
  return exports.unpackBlock as ReturnType<typeof instantiate>;
}

/** The function that `instantiate` makes. */
function unpackBlockBody(): Body {
  const b = new Code(new Body(['i32', 'i32', 'i32', 'i32'], ['i32']));
  const [packed, end, start, limit] = b.parameters(4);
  /** Where it reads and writes; how long the literals or the match are. */
  const at = b.variable(packed);
  const to = b.variable(start);
  const length = b.variable(b.i32(0));
  const failIf = (condition: Value, fault: (typeof FAULTS)[number]) =>
    b.when(condition, () => b.answer(-1 - FAULTS.indexOf(fault)));
  /** More bytes than are left of [place, bound). Both are within bounds, and unsigned: no difference is negative. */
  const exceeds = (bytes: Operand, place: Variable, bound: Value) => b.gtu(bytes, b.sub(bound, place.get()));
  /** Adds the bytes that continue a length of 15. */
  const extend = (fault: (typeof FAULTS)[number]) =>
    b.when(b.eq(length.get(), 15), () =>
      b.repeat(() => {
        // Nor may the length come near to 2^32.
        failIf(b.either(b.geu(at.get(), end), b.gtu(length.get(), 1 << 30)), fault);
        const more = b.fetch('i32.load8_u', at.get());
        length.add(more);
        at.add(1);
        return b.eq(more, 255);
      }),
    );
  /** Copies `length` bytes to `to`, `width` at a time; what is too much will be overwritten. */
  const copy = (source: Value, width: number, load: string, store: string) => {
    const from = b.variable(source);
    const stop = b.add(to.get(), length.get());
    b.repeat(() => {
      b.put(store, to.get(), b.fetch(load, from.get()));
      from.add(width);
      to.add(width);
      return b.ltu(to.get(), stop);
    });
    to.set(stop);
  };
  const copyEights = (source: Value) => copy(source, 8, 'i64.load', 'i64.store');

  b.block(done =>
    b.loop(next => {
      done(b.geu(at.get(), end));
      const token = b.fetch('i32.load8_u', at.get());
      length.set(b.shr(token, 4));
      at.add(1);
      extend('a literal length runs past its block');
      const tooLong = b.either(exceeds(length.get(), at, end), exceeds(length.get(), to, limit));
      failIf(tooLong, 'literals run past their block');
      copyEights(at.get());
      at.add(length.get());
      // The last sequence of a block is literals alone.
      done(b.eq(at.get(), end));

      failIf(exceeds(2, at, end), 'a match is cut off');
      const distance = b.fetch('i32.load16_u', at.get());
      at.add(2);
      length.set(b.and(token, 15));
      extend('a match length runs past its block');
      length.add(4);
      const tooFar = b.geu(b.sub(distance, 1), b.sub(to.get(), start)); // a distance of 0, too
      failIf(tooFar, 'a match reaches before its block');
      failIf(exceeds(length.get(), to, limit), 'a match runs past the end');
      const from = b.sub(to.get(), distance);
      b.when(
        b.geu(distance, 8),
        () => copyEights(from),
        // The match overlaps what it makes: bytes repeat.
        () => copy(from, 1, 'i32.load8_u', 'i32.store8'),
      );
      next();
    }),
  );
  b.answer(to.get());
  return b.complete();
}

function corrupt(detail: string): ImageError {
  return new ImageError(`the LZ4 data is corrupt: ${detail}; fetch the file again`);
}
