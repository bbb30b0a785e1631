/**
 * LZ4's "legacy" frame, which Linux kernels use for their payload: the magic 0x184c2102, then blocks of {u32 compressed
 * length, LZ4 block}, each at most 8 MiB when unpacked; no checksums, no end mark (lz4_Frame_format.md, "Legacy frame";
 * lz4_Block_format.md). Written out here because the packages that exist either read only the newer frame or do not notice
 * a corrupt block: here every length and distance is checked. In WebAssembly because a kernel is unpacked while V8's optimiser
 * has the interpreter to do, and JavaScript that waits for it takes 400 ms for what takes 100 ms so.
 */
import { Body, Module } from '../wasm/module.ts';
import { ImageError } from './image-error.ts';

export const LZ4_LEGACY_MAGIC = 0x184c2102;
/** The most a block of the legacy frame may hold, in bytes. */
const BLOCK_SIZE = 8 << 20;
/** Copies are made eight bytes at a time: as much may be read and written behind the end. */
const SLACK = 64;
const PAGE = 65536;

/** What a block can have wrong; `unpackBlock` answers with -1 - the index. */
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

function unpackBlockBody(): Body {
  const b = new Body(['i32', 'i32', 'i32', 'i32'], ['i32']);
  const [at, end, start, limit] = [0, 1, 2, 3];
  const to = b.local('i32');
  const token = b.local('i32');
  const length = b.local('i32');
  const distance = b.local('i32');
  const from = b.local('i32');
  const stop = b.local('i32');
  const more = b.local('i32');
  const failIf = (fault: (typeof FAULTS)[number]) => {
    b.if();
    b.i32(-1 - FAULTS.indexOf(fault));
    b.return();
    b.end();
  };
  const add = (local: number, amount: number) => {
    b.get(local);
    b.i32(amount);
    b.op('i32.add');
    b.set(local);
  };
  /** More bytes than are left of [place, end)? Both are within bounds, and unsigned: no sum can overflow. */
  const exceeds = (place: number, bound: number) => {
    b.get(length);
    b.get(bound);
    b.get(place);
    b.op('i32.sub');
    b.op('i32.gt_u');
  };
  /** length += the bytes that continue it, if it is `longest`. */
  const extend = (longest: number, fault: (typeof FAULTS)[number]) => {
    b.get(length);
    b.i32(longest);
    b.op('i32.eq');
    b.if();
    const next = b.loop();
    b.get(at);
    b.get(end);
    b.op('i32.ge_u');
    // Nor may it come near to 2^32.
    b.get(length);
    b.i32(1 << 30);
    b.op('i32.gt_u');
    b.op('i32.or');
    failIf(fault);
    b.get(at);
    b.memory('i32.load8_u', 0);
    b.tee(more);
    b.get(length);
    b.op('i32.add');
    b.set(length);
    add(at, 1);
    b.get(more);
    b.i32(255);
    b.op('i32.eq');
    b.brIf(next);
    b.end();
    b.end();
  };
  /** Copies [from, …) to [to, stop), and up to 7 bytes more, that come to be overwritten. */
  const copyEights = () => {
    const next = b.loop();
    b.get(to);
    b.get(from);
    b.memory('i64.load', 0);
    b.memory('i64.store', 0);
    add(from, 8);
    add(to, 8);
    b.get(to);
    b.get(stop);
    b.op('i32.lt_u');
    b.brIf(next);
    b.end();
    b.get(stop);
    b.set(to);
  };
  const aim = () => {
    b.get(to);
    b.get(length);
    b.op('i32.add');
    b.set(stop);
  };

  b.get(start);
  b.set(to);
  const done = b.block();
  const next = b.loop();
  b.get(at);
  b.get(end);
  b.op('i32.ge_u');
  b.brIf(done);
  b.get(at);
  b.memory('i32.load8_u', 0);
  b.tee(token);
  b.i32(4);
  b.op('i32.shr_u');
  b.set(length);
  add(at, 1);
  extend(15, 'a literal length runs past its block');
  exceeds(at, end);
  exceeds(to, limit);
  b.op('i32.or');
  failIf('literals run past their block');
  b.get(at);
  b.set(from);
  aim();
  b.get(at);
  b.get(length);
  b.op('i32.add');
  b.set(at);
  copyEights();
  // The last sequence of a block is literals alone.
  b.get(at);
  b.get(end);
  b.op('i32.eq');
  b.brIf(done);

  b.i32(2);
  b.set(length);
  exceeds(at, end);
  failIf('a match is cut off');
  b.get(at);
  b.memory('i32.load16_u', 0);
  b.set(distance);
  add(at, 2);
  b.get(token);
  b.i32(15);
  b.op('i32.and');
  b.set(length);
  extend(15, 'a match length runs past its block');
  add(length, 4);
  b.get(distance);
  b.i32(1);
  b.op('i32.sub');
  b.get(to);
  b.get(start);
  b.op('i32.sub');
  b.op('i32.ge_u'); // 0, too
  failIf('a match reaches before its block');
  exceeds(to, limit);
  failIf('a match runs past the end');
  b.get(to);
  b.get(distance);
  b.op('i32.sub');
  b.set(from);
  aim();
  b.get(distance);
  b.i32(8);
  b.op('i32.ge_u');
  b.if();
  copyEights();
  b.else();
  // It overlaps what it makes: bytes repeat.
  const repeat = b.loop();
  b.get(to);
  b.get(from);
  b.memory('i32.load8_u', 0);
  b.memory('i32.store8', 0);
  add(from, 1);
  add(to, 1);
  b.get(to);
  b.get(stop);
  b.op('i32.lt_u');
  b.brIf(repeat);
  b.end();
  b.end();
  b.br(next);
  b.end();
  b.end();
  b.get(to);
  return b;
}

function corrupt(detail: string): ImageError {
  return new ImageError(`the LZ4 data is corrupt: ${detail}; fetch the file again`);
}
