/**
 * The state a case starts from, derived from its mode and seed alone: registers that point into the window or hold
 * corner values, an x87 and SSE in every rounding mode, memory full of operands. Changing anything here changes what all
 * stored vectors mean: make them anew with `npm run vectors -- --all`.
 */
import type { Row } from '../../src/engine/x86/instructions/row.ts';
import {
  baseOf,
  CODE,
  CS,
  DATA,
  DATA_SIZE,
  DS,
  ES,
  FAR_POINTERS,
  FCW,
  FLAGS,
  FRAME_COUNT,
  FRAMES,
  FS,
  FS_BASE,
  FSBASE,
  FSW,
  FTW,
  FX_IMAGES,
  GPR,
  GPR_STAMPS,
  GS,
  GS_BASE,
  GSBASE,
  IMAGE_SIZE,
  MEMORY,
  type Mode,
  MXCSR,
  RIP,
  SELECTOR_FRAME_COUNT,
  SELECTORS,
  SS,
  selectorOf,
  USER_CS,
  USER_DS,
  USER32_CS,
  X87,
  XMM,
  XMM_STAMPS,
  XSAVE_IMAGES,
  YMM_HIGH,
} from './layout.ts';
import { Random } from './random.ts';
import { putDecimal, putDouble, putExtended, putInteger, putSingle, putVector } from './values.ts';

const MXCSR_DEFAULT = 0x1f80;
/** From here on the data pages hold plain operands (up to the frames). */
const PLAIN = 0x1100;
const ARITHMETIC = 0x8d5;
const DIRECTION = 0x400;

/** Selectors worth loading: good ones of every kind, null ones, and ones that fault. */
export const SELECTOR_PALETTE: readonly number[] = [
  0,
  1,
  3,
  USER_DS,
  USER32_CS,
  USER_CS,
  0x10,
  0x18,
  0x2a,
  0x84,
  0x88,
  ...[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13].map(selectorOf),
  selectorOf(5) - 1,
  selectorOf(2) - 2,
  selectorOf(14),
  selectorOf(200),
];
const CODE_SELECTORS = [USER32_CS, USER_CS, 0x0f, 0x17, 0x1f, 0x0f, 0x17, 0x1f];

// ── memory ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function putFxImage(r: Random, view: DataView, at: number): void {
  for (let i = 0; i < 512; i += 4) view.setUint32(at + i, r.u32(), true);
  view.setUint16(at, 0x40 | (r.u32() & 0xf3f), true);
  // No pending exception: the next x87 instruction of a longer case would trip over it.
  view.setUint16(at + 2, r.u32() & 0x7f00, true);
  view.setUint8(at + 5, 0);
  view.setUint16(at + 6, r.below(0x800), true);
  view.setUint32(at + 24, r.u32() & 0xffff, true);
  for (let i = 0; i < 8; i++) putExtended(r, view, at + 32 + 16 * i);
  for (let i = 0; i < 16; i++) putVector(r, view, at + 160 + 16 * i);
}

function putOffset(r: Random, view: DataView, at: number, size: number, selector: number): void {
  const linear = CODE + r.below(4096);
  const offset = selector & 4 ? linear - baseOf(selector) : r.once(8) ? r.u32() : linear;
  if (size === 2) view.setUint16(at, offset & 0xffff, true);
  else view.setUint32(at, offset >>> 0, true);
  if (size === 8) view.setUint32(at + 4, r.once(12) ? r.u32() : 0, true);
}

/** Pushed words as RETF (offset, selector) and IRET (and flags; in 64-bit mode also stack pointer and SS) pop them. */
function putFrame(r: Random, view: DataView, at: number, size: number): void {
  for (let i = 0; i < 64; i += 4) view.setUint32(at + i, r.once(2) ? 0 : r.u32(), true);
  const selector = r.once(6) ? r.pick(SELECTOR_PALETTE) : r.pick(CODE_SELECTORS);
  putOffset(r, view, at, size, selector);
  view.setUint16(at + size, selector, true);
  // NT and TF stay out: they would speak later. IOPL, VM, VIF and VIP may be asked for and must not be given.
  view.setUint32(at + 2 * size, (r.u32() & ~0x4100) >>> 0, true);
  const stack = r.pick([USER_DS, USER_DS, 0x27, 0x2f, 0x37, 0x3f, r.pick(SELECTOR_PALETTE)]);
  const pointer = DATA + 0x400 + r.below(0x1000) - baseOf(stack);
  if (size === 2) view.setUint16(at + 6, pointer & 0xffff, true);
  else view.setUint32(at + 3 * size, pointer >>> 0, true);
  if (size === 8) view.setUint32(at + 28, 0, true);
  view.setUint16(at + 4 * size, stack, true);
}

/** Where operands of each kind stand (offsets from DATA), for the encoder to point at. */
export const PLACES: Record<'single' | 'double' | 'extended' | 'decimal' | 'selector', number[]> = {
  single: [],
  double: [],
  extended: [],
  decimal: [],
  selector: [],
};

/** The three data pages as every case finds them, but for the stamps. */
function makeMemory(): Uint8Array {
  const r = new Random(0x706f6c79);
  const bytes = new Uint8Array(DATA_SIZE);
  const view = new DataView(bytes.buffer);
  const place = (kind: keyof typeof PLACES, at: number) => {
    if (at >= PLAIN) PLACES[kind].push(at);
  };
  for (let at = 0; at < DATA_SIZE; at += 16) {
    switch (r.below(10)) {
      case 0:
        for (let i = 0; i < 16; i += 4) {
          putSingle(r, view, at + i);
          place('single', at + i);
        }
        break;
      case 1:
        for (let i = 0; i < 16; i += 8) {
          putDouble(r, view, at + i);
          place('double', at + i);
        }
        break;
      case 2:
        putExtended(r, view, at);
        place('extended', at);
        break;
      case 3:
        putDecimal(r, view, at);
        place('decimal', at);
        break;
      case 4:
        for (let i = 0; i < 16; i += 8) putInteger(r, view, at + i);
        break;
      case 5:
        for (let i = 0; i < 16; i += 8) view.setBigUint64(at + i, BigInt(CODE + r.below(4096)), true);
        break;
      case 6:
        for (let i = 0; i < 16; i += 2) {
          view.setUint16(at + i, r.pick(SELECTOR_PALETTE), true);
          place('selector', at + i);
        }
        break;
      default:
        putVector(r, view, at);
    }
  }
  for (let i = 0; i < 8; i++) {
    const at = FAR_POINTERS + 16 * i;
    const size = [2, 4, 4, 8, 2, 4, 8, 4][i]!;
    const selector = i < 4 ? r.pick(CODE_SELECTORS) : r.pick([0x27, 0x2f, 0x37, USER_DS, 0, 0x57, 0x47]);
    putOffset(r, view, at, size, selector);
    view.setUint16(at + size, selector, true);
  }
  for (let i = 0; i < 2; i++) putFxImage(r, view, FX_IMAGES + 512 * i);
  for (let i = 0; i < 2; i++) {
    const at = XSAVE_IMAGES + 1024 * i;
    putFxImage(r, view, at);
    bytes.fill(0, at + 512, at + 576);
    view.setUint8(at + 512, i ? 1 + r.below(2) : 3);
  }
  for (let i = 0; i < FRAME_COUNT; i++) putFrame(r, view, FRAMES + 64 * i, [8, 4, 2][i % 3]!);
  for (let i = 0; i < SELECTOR_FRAME_COUNT; i++)
    for (let at = FRAMES + 64 * (FRAME_COUNT + i), end = at + 64; at < end; at += 2)
      view.setUint16(at, r.pick(SELECTOR_PALETTE), true);
  return bytes;
}

export const INITIAL_MEMORY = makeMemory();

// ── registers ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** Offset from DATA of something to point at: mostly well inside, now and then at a border. */
function target(r: Random): number {
  switch (r.below(14)) {
    case 0:
      return r.below(32) - 16;
    case 1:
      return 0x1000 - 16 + r.below(32);
    case 2:
      return 0x2000 - 16 + r.below(32);
    case 3:
      return 0x3000 - 24 + r.below(32);
    case 4:
      return XMM_STAMPS + 8 * r.below(48);
    case 5:
    case 6:
    case 7:
      return r.below(0x1e00) + 0x180;
    default:
      return (r.below(0x1e0) + 0x18) * 16;
  }
}

function stackTarget(r: Random): number {
  switch (r.below(16)) {
    case 0:
      return r.below(40) - 8;
    case 1:
      return 0x3000 - r.below(72);
    case 2:
      return 0x2000 + 8 * r.below(8) - 16;
    case 3:
      return 0x400 + r.below(0x1800);
    case 4:
    case 5:
    case 6:
      return FRAMES + 64 * r.below(FRAME_COUNT + SELECTOR_FRAME_COUNT);
    default:
      return 0x400 + 8 * r.below(0x300);
  }
}

function chooseSegments(r: Random, mode: Mode): number[] {
  const s = [0, 0, 0, 0, 0, 0];
  const all = (code: number, data: number, stack = data) => {
    s[CS] = code;
    s[SS] = stack;
    s[DS] = s[ES] = data;
  };
  if (mode === 64) {
    all(USER_CS, r.once(2) ? 0 : USER_DS, USER_DS);
    return s;
  }
  if (mode === 32) {
    const shape = r.below(10);
    if (shape < 3) all(0x0f, 0x27);
    else if (shape < 4) all(USER32_CS, USER_DS);
    else if (shape < 6) all(0x17, 0x2f);
    else if (shape < 7) all(0x17, 0x2f, 0x37);
    else if (shape < 8) all(0x0f, 0x2f, 0x3f);
    else if (shape < 9) all(0x17, 0x47, 0x27);
    else {
      all(0x0f, 0x6f, 0x2f);
      s[ES] = 0x3f;
    }
  } else {
    const shape = r.below(8);
    if (shape < 4) all(0x1f, 0x37);
    else if (shape < 5) all(0x1f, 0x37, 0x2f);
    else if (shape < 6) all(0x1f, 0x37, 0x67);
    else if (shape < 7) all(0x1f, 0x47, 0x37);
    else {
      all(0x1f, 0x6f, 0x37);
      s[ES] = 0x67;
    }
  }
  s[FS] = r.pick([0x27, 0x2f, 0x37, 0x6f, 0x47, 0]);
  s[GS] = r.pick([0x27, 0x2f, 0x37, 0x3f, 0x17, 0]);
  return s;
}

const STACK_POINTER = 4;
const BASE_POINTER = 5;

function putRegisters(r: Random, view: DataView, mode: Mode, segments: readonly number[]): void {
  const put = (n: number, low: number, high: number) => {
    view.setUint32(GPR + 8 * n, low >>> 0, true);
    view.setUint32(GPR + 8 * n + 4, mode === 64 ? high >>> 0 : 0, true);
  };
  const point = (n: number, segment: number, offset: number) => {
    const linear = DATA + offset - baseOf(segments[segment]!);
    // In 16-bit segments only the lower half is an address; the upper half is often something.
    put(n, mode === 16 && r.once(3) ? (linear & 0xffff) | (r.u32() & 0xffff0000) : linear, 0);
  };
  for (let n = 0; n < 16; n++) {
    if (mode !== 64 && n >= 8) {
      put(n, 0, 0);
      continue;
    }
    const kind = r.below(10);
    if (n === STACK_POINTER) {
      point(n, SS, stackTarget(r));
      if (mode === 64 && r.once(48)) view.setUint32(GPR + 8 * n + 4, 0x8000_0000 + r.below(2) * 0x7fff_0000, true);
    } else if (n === 6 && kind < 8) point(n, DS, target(r));
    else if (n === 7 && kind < 8) point(n, ES, target(r));
    else if (n === 1 && kind < 5) put(n, r.below(kind < 3 ? 12 : 72), 0);
    else if (n === 2 && kind < 3) put(n, 0, 0);
    else if (kind < 3) point(n, n === BASE_POINTER ? SS : DS, target(r));
    else if (kind === 3 && n > 0) {
      const from = r.below(n);
      put(n, view.getUint32(GPR + 8 * from, true), view.getUint32(GPR + 8 * from + 4, true));
    } else if (kind === 9 && r.once(2)) put(n, r.pick(SELECTOR_PALETTE), 0);
    else {
      putInteger(r, view, GPR + 8 * n);
      if (mode !== 64) view.setUint32(GPR + 8 * n + 4, 0, true);
    }
  }
}

/**
 * The x87's last opcode and pointers stay 0: processors differ in when they keep them (some only while an exception is
 * pending), so that no vector can speak about them.
 */
function putFloatingPoint(r: Random, view: DataView): void {
  let mxcsr = MXCSR_DEFAULT | (r.below(4) << 13);
  if (r.once(5)) mxcsr = (mxcsr & ~MXCSR_DEFAULT) | (r.u32() & MXCSR_DEFAULT);
  if (r.once(6)) mxcsr |= 0x8000;
  if (r.once(6)) mxcsr |= 0x40;
  if (r.once(2)) mxcsr |= r.u32() & 0x3f;
  view.setUint32(MXCSR, mxcsr, true);

  let control = 0x7f | (r.below(4) << 10) | (r.pick([3, 3, 3, 2, 0, 1]) << 8);
  if (r.once(5)) control = (control & ~0x3f) | (r.u32() & 0x3f);
  const top = r.below(8);
  let status = (r.u32() & 0x4700) | (top << 11);
  if (r.once(2)) status |= r.u32() & 0x7f;
  if (status & ~control & 0x3f) {
    if (r.once(2)) status &= ~0x3f;
    else status |= 0x8080;
  }
  view.setUint16(FCW, control, true);
  view.setUint16(FSW, status, true);
  view.setUint8(FTW, r.below(5) < 3 ? 0xff : r.u32() & 0xff);
  for (let i = 0; i < 8; i++) {
    const at = X87 + 16 * i;
    if (r.once(6)) {
      putInteger(r, view, at);
      view.setUint16(at + 8, 0xffff, true);
    } else if (i > 0 && r.once(8)) {
      for (let j = 0; j < 10; j++) view.setUint8(at + j, view.getUint8(at - 16 + j));
    } else putExtended(r, view, at);
  }
  for (let i = 0; i < 16; i++) {
    const at = XMM + 16 * i;
    if (i > 0 && r.once(8))
      for (let j = 0; j < 16; j += 4) view.setUint32(at + j, view.getUint32(at - 16 + j, true), true);
    else putVector(r, view, at);
  }
}

const random = new Random(0);

/** For a gather: in all registers small numbers, which as indices stay in the window and as masks have either sign. */
function putIndices(r: Random, view: DataView, bits: 32 | 64): void {
  for (const file of [XMM, YMM_HIGH])
    for (let at = file; at < file + 256; at += bits / 8) {
      const index = r.below(0x600) - 0x300;
      if (bits === 64) view.setBigInt64(at, BigInt(index), true);
      else view.setInt32(at, index, true);
    }
}

/**
 * Fills `image` (IMAGE_SIZE bytes; `view` of the same) with the state that `mode` and `seed` stand for, for an instruction of `row`.
 */
export function makeInitial(image: Uint8Array, view: DataView, mode: Mode, seed: number, row?: Row): void {
  const r = random;
  r.seed(seed);
  image.fill(0, 0, MEMORY);
  image.set(INITIAL_MEMORY, MEMORY);
  const segments = chooseSegments(r, mode);
  for (let i = 0; i < 6; i++) view.setUint16(SELECTORS + 2 * i, segments[i]!, true);
  view.setBigUint64(FSBASE, mode === 64 ? FS_BASE : BigInt(baseOf(segments[FS]!)), true);
  view.setBigUint64(GSBASE, mode === 64 ? GS_BASE : BigInt(baseOf(segments[GS]!)), true);
  const code = r.once(12) ? 4096 - 1 - r.below(12) : 0x100 + r.below(0xe00);
  view.setUint32(RIP, CODE + code - baseOf(segments[CS]!), true);
  view.setUint32(FLAGS, 0x202 | (r.u32() & ARITHMETIC) | (r.once(4) ? DIRECTION : 0), true);
  putRegisters(r, view, mode, segments);
  putFloatingPoint(r, view);
  image.copyWithin(MEMORY + XMM_STAMPS, XMM, XMM + 256);
  image.copyWithin(MEMORY + GPR_STAMPS, GPR, GPR + 128);
  for (let at = YMM_HIGH; at < YMM_HIGH + 256; at += 16) putVector(r, view, at);
  if (row?.vectorIndex) putIndices(r, view, /^vp?gatherq/.test(row.name) ? 64 : 32);
}

/** Room for one image. */
export function createImage(): { bytes: Uint8Array; view: DataView } {
  const bytes = new Uint8Array(IMAGE_SIZE);
  return { bytes, view: new DataView(bytes.buffer) };
}
