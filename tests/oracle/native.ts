/**
 * Runs cases on the processor underneath: compiles harness.c, feeds it batches, reads back final images. The structs here
 * are those at the head of harness.c. x86-64 Linux with gcc only, and only where vectors are made: tests need none of it.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { INITIAL_MEMORY } from './initial.ts';
import {
  CS,
  DATA_SIZE,
  DS,
  ES,
  FCW,
  FLAGS,
  FS,
  FSBASE,
  FSW,
  FTW,
  GPR,
  GS,
  LDT,
  MEMORY,
  MXCSR,
  RIP,
  SELECTORS,
  SS,
  USER_CS,
  WINDOW,
  X87,
  XMM,
  YMM_HIGH,
} from './layout.ts';
import { RETIRED } from './vectors.ts';

export interface NativeCase {
  code: Uint8Array;
  /** As makeInitial fills it. */
  initial: Uint8Array;
  /** Run without TF (PUSHF would show it); the instruction must fall through. */
  noStep?: boolean;
  /** A REP string instruction: goes on until it is through. */
  repeat?: boolean;
  /** Loads SS, which puts TF's trap off. */
  shadow?: boolean;
}

export interface NativeOutcome {
  /** The exception's vector, or RETIRED. Undefined: no usable answer (the case broke its process, or never ended). */
  vector: number | undefined;
  code: number;
  /** For #PF. */
  cr2: bigint;
  /** The image afterwards. */
  final: Uint8Array;
}

const SOURCE = fileURLToPath(new URL('../../../tests/oracle/harness.c', import.meta.url));
// prettier-ignore
const COMPILER_FLAGS = [
  '-O2',
  '-Wall',
  '-Wextra',
  '-ffreestanding',
  '-fno-tree-loop-distribute-patterns',
  '-static-pie',
  '-fPIE',
  '-nostdlib',
  '-fno-stack-protector',
  '-mno-red-zone',
  '-mgeneral-regs-only',
  '-mfsgsbase',
  '-fcf-protection=none',
];

const SEGMENTS = 16;
const SETUP_SIZE = 8 + SEGMENTS * 16 + DATA_SIZE;
/** FXSAVE's image up to XMM15, and the upper halves of the YMM registers. */
const FX_SIZE = 416 + 256;
const FX_YMM = 416;
const RUN_BYTES = 1024;
const TEST_SIZE = 1896;
const TEST_FX = 192;
const TEST_RUNS = TEST_FX + FX_SIZE;
const OUTCOME_SIZE = 1896;
const OUTCOME_FX = 192;
const BATCH = 4096;
const FLAG_NO_STEP = 1;
const FLAG_REPEAT = 2;
const FLAG_SHADOW = 4;
const ROUNDS = 128;
/** TF and RF are the harness's and the kernel's business. */
const UNSEEN_FLAGS = 0x10100;

function makeSetup(): Uint8Array {
  const setup = new DataView(new ArrayBuffer(SETUP_SIZE));
  setup.setBigUint64(0, BigInt(WINDOW), true);
  LDT.forEach((entry, i) => {
    if (!entry) return;
    const at = 8 + 16 * i;
    const contents = ['data', 'expand-down', 'code', 'conforming'].indexOf(entry.contents);
    const bits =
      (entry.wide ? 1 : 0) |
      (contents << 1) |
      (entry.readOnly ? 8 : 0) |
      (entry.pages ? 16 : 0) |
      (entry.absent ? 32 : 0) |
      64;
    [i, entry.base, entry.limit, bits].forEach((word, n) => setup.setUint32(at + 4 * n, word, true));
  });
  const bytes = new Uint8Array(setup.buffer);
  bytes.set(INITIAL_MEMORY, 8 + SEGMENTS * 16);
  return bytes;
}

/** Where the case's memory differs from INITIAL_MEMORY. @throws RangeError if that is too much for the harness. */
function putRuns(view: DataView, bytes: Uint8Array, at: number, initial: Uint8Array): void {
  const start = at + 4;
  let end = start;
  for (let offset = 0; offset < DATA_SIZE; offset++) {
    if (initial[MEMORY + offset] === INITIAL_MEMORY[offset]) continue;
    let last = offset;
    // A gap of less than a run's head is not worth a new run.
    for (let next = offset + 1; next < Math.min(DATA_SIZE, last + 5); next++)
      if (initial[MEMORY + next] !== INITIAL_MEMORY[next]) last = next;
    const length = last - offset + 1;
    if (end + 4 + length - start > RUN_BYTES) throw new RangeError('a case changes too much memory');
    view.setUint16(end, offset, true);
    view.setUint16(end + 2, length, true);
    bytes.set(initial.subarray(MEMORY + offset, MEMORY + offset + length), end + 4);
    end += 4 + length;
    offset = last;
  }
  view.setUint32(at, end - start, true);
}
/** How many bytes that takes. */
export function memoryChanges(initial: Uint8Array): number {
  let changed = 0;
  for (let offset = 0; offset < DATA_SIZE; offset++) if (initial[MEMORY + offset] !== INITIAL_MEMORY[offset]) changed++;
  return changed;
}

function putTest(view: DataView, bytes: Uint8Array, at: number, test: NativeCase): void {
  const { initial } = test;
  const from = new DataView(initial.buffer, initial.byteOffset);
  bytes.set(test.code, at);
  view.setUint8(at + 16, test.code.length);
  view.setUint8(
    at + 17,
    (test.noStep ? FLAG_NO_STEP : 0) | (test.repeat ? FLAG_REPEAT : 0) | (test.shadow ? FLAG_SHADOW : 0),
  );
  [CS, SS, DS, ES, FS, GS].forEach((segment, i) =>
    view.setUint16(at + 18 + 2 * i, from.getUint16(SELECTORS + 2 * segment, true), true),
  );
  bytes.set(initial.subarray(RIP, RIP + 8), at + 32);
  view.setUint32(at + 40, from.getUint32(FLAGS, true), true);
  bytes.set(initial.subarray(GPR, GPR + 128), at + 48);
  bytes.set(initial.subarray(FSBASE, FSBASE + 16), at + 176);
  const fx = at + TEST_FX;
  const status = from.getUint16(FSW, true);
  view.setUint16(fx, from.getUint16(FCW, true), true);
  view.setUint16(fx + 2, status, true);
  view.setUint8(fx + 4, initial[FTW]!);
  view.setUint32(fx + 24, from.getUint32(MXCSR, true), true);
  const top = (status >> 11) & 7;
  for (let i = 0; i < 8; i++) {
    const register = X87 + 16 * ((top + i) & 7);
    bytes.set(initial.subarray(register, register + 10), fx + 32 + 16 * i);
  }
  bytes.set(initial.subarray(XMM, XMM + 256), fx + 160);
  bytes.set(initial.subarray(YMM_HIGH, YMM_HIGH + 256), fx + FX_YMM);
  putRuns(view, bytes, at + TEST_RUNS, initial);
}

function takeOutcome(view: DataView, bytes: Uint8Array, at: number, test: NativeCase): NativeOutcome {
  const final = test.initial.slice();
  const to = new DataView(final.buffer);
  const from = new DataView(test.initial.buffer);
  const reported = view.getUint32(at, true);
  const outcome: NativeOutcome = {
    vector: reported <= RETIRED ? reported : undefined,
    code: view.getUint32(at + 4, true),
    cr2: view.getBigUint64(at + 8, true),
    final,
  };
  if (outcome.vector === undefined) return outcome;
  final.set(bytes.subarray(at + 16, at + 24), RIP);
  to.setUint32(FLAGS, view.getUint32(at + 24, true) & ~UNSEEN_FLAGS, true);
  final.set(bytes.subarray(at + 32, at + 160), GPR);
  // Outside 64-bit mode the upper halves do not exist; the kernel leaves its own in RSP when SS is a 16-bit segment.
  const wide = from.getUint16(SELECTORS + 2 * CS, true) === USER_CS;
  if (!wide) for (let i = 0; i < 16; i++) to.setUint32(GPR + 8 * i + 4, 0, true);
  [CS, SS, DS, ES, FS, GS].forEach((segment, i) =>
    to.setUint16(SELECTORS + 2 * segment, view.getUint16(at + 160 + 2 * i, true), true),
  );
  // A repeated instruction that never came to its end.
  if (test.repeat && outcome.vector === RETIRED && view.getUint32(at + 172, true) >= ROUNDS) outcome.vector = undefined;
  final.set(bytes.subarray(at + 176, at + 192), FSBASE);
  const fx = at + OUTCOME_FX;
  const status = view.getUint16(fx + 2, true);
  to.setUint16(FCW, view.getUint16(fx, true), true);
  to.setUint16(FSW, status, true);
  final[FTW] = bytes[fx + 4]!;
  to.setUint32(MXCSR, view.getUint32(fx + 24, true), true);
  const top = (status >> 11) & 7;
  for (let i = 0; i < 8; i++) final.set(bytes.subarray(fx + 32 + 16 * i, fx + 42 + 16 * i), X87 + 16 * ((top + i) & 7));
  final.set(bytes.subarray(fx + 160, fx + 416), XMM);
  final.set(bytes.subarray(fx + FX_YMM, fx + FX_SIZE), YMM_HIGH);
  const used = view.getUint32(fx + FX_SIZE, true);
  for (let run = fx + FX_SIZE + 4, end = run + used; run < end; ) {
    const offset = view.getUint16(run, true);
    const length = view.getUint16(run + 2, true);
    final.set(bytes.subarray(run + 4, run + 4 + length), MEMORY + offset);
    run += 4 + length;
  }
  return outcome;
}

export interface Native {
  run(cases: readonly NativeCase[]): NativeOutcome[];
  close(): void;
}

/** Compiles the harness. @throws Error where there is no gcc or no x86-64 Linux. */
export function openNative(): Native {
  if (process.platform !== 'linux' || process.arch !== 'x64') throw new Error('vectors are made on x86-64 Linux only');
  const folder = mkdtempSync(join(tmpdir(), 'polyvisor-oracle-'));
  const program = join(folder, 'harness');
  const compiled = spawnSync('gcc', [...COMPILER_FLAGS, '-o', program, SOURCE], { encoding: 'utf8' });
  if (compiled.status !== 0) throw new Error(`gcc ${SOURCE}: ${compiled.error?.message ?? compiled.stderr}`);
  const setup = makeSetup();
  return {
    run(cases) {
      const outcomes: NativeOutcome[] = [];
      for (let first = 0; first < cases.length; first += BATCH) {
        const batch = cases.slice(first, first + BATCH);
        const input = new Uint8Array(SETUP_SIZE + 4 + TEST_SIZE * batch.length);
        const view = new DataView(input.buffer);
        input.set(setup);
        view.setUint32(SETUP_SIZE, batch.length, true);
        batch.forEach((test, i) => putTest(view, input, SETUP_SIZE + 4 + TEST_SIZE * i, test));
        const { stdout, stderr } = spawnSync(program, { input, maxBuffer: OUTCOME_SIZE * BATCH + 1 });
        if (stdout?.length !== OUTCOME_SIZE * batch.length)
          throw new Error(`harness: ${stdout?.length} bytes for ${batch.length} cases. ${stderr}`);
        const bytes = new Uint8Array(stdout.buffer, stdout.byteOffset, stdout.length);
        const answers = new DataView(stdout.buffer, stdout.byteOffset, stdout.length);
        batch.forEach((test, i) => outcomes.push(takeOutcome(answers, bytes, OUTCOME_SIZE * i, test)));
      }
      return outcomes;
    },
    close: () => rmSync(folder, { recursive: true, force: true }),
  };
}
