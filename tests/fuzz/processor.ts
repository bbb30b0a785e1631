/**
 * Random sequences of instructions, engine against the processor underneath. The processor runs a sequence instruction by
 * instruction, each starting where the one before left off; the engine runs it in one go, so that what one instruction leaves for the
 * next (lazy flags, the x87 stack, translated blocks) is tried too. Words: those in the file or key of the rows that are wanted, and
 * `jit` for the second tier (64- and 32-bit code).
 *
 * The host is not trusted blindly. What a NOP changes on it is the doing of its kernel or hypervisor and not compared; what the
 * processor does not do again is not held against the engine; where the manual lets processors differ, the host is asked
 * what it is (processor-models.ts).
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { offered } from '../../src/engine/x86/cpuid.ts';
import type { Row } from '../../src/engine/x86/instructions/row.ts';
import { rows } from '../../src/engine/x86/instructions/table.ts';
import { isFuzzable } from '../oracle/conduct.ts';
import { disassembleAll } from '../oracle/disassemble.ts';
import { encode } from '../oracle/encode.ts';
import { OracleGuest } from '../oracle/guest.ts';
import { type Difference, differences } from '../oracle/image-text.ts';
import { createImage, makeInitial } from '../oracle/initial.ts';
import { FLAGS, MODES, type Mode, RIP, SELECTORS } from '../oracle/layout.ts';
import { isUndefined } from '../oracle/masks.ts';
import { memoryChanges, type Native, type NativeCase, openNative } from '../oracle/native.ts';
import { Random } from '../oracle/random.ts';
import { fileOf, RETIRED, rowKey } from '../oracle/vectors.ts';
import type { Finding, Fuzzer, Limits, Outcome } from './fuzzer.ts';
import { type DifferingModels, differingModels } from './processor-models.ts';

const SEQUENCES = 512;
const LENGTH = 12;
const CODE_ROOM = 15 * LENGTH;
const ATTEMPTS = 200;
/** Bytes of changed memory that the harness surely has room for. */
const MEMORY_ROOM = 600;
/** A sequence that differs is run natively so often before it counts. */
const REPEATS = 3;
/** States in which a NOP is tried, for each mode. */
const NOPS = 64;
const NOP = Uint8Array.of(0x90);

interface Sequence {
  mode: Mode;
  seed: number;
  random: Random;
  start: Uint8Array;
  /** The state after what has been run so far. */
  now: Uint8Array;
  codes: Uint8Array[];
  /** Of the rows of `codes`: it repeats while it stands still. */
  repeats: boolean[];
  /** And: it leaves flags undefined. */
  undefines: boolean[];
  /** The row of the instruction that runs next. */
  drawn: Row | undefined;
  /** The last instruction left flags undefined. */
  flagsUndefined: boolean;
  /** Nothing more may follow. */
  over: boolean;
}

/** These leave no flag undefined. */
const DEFINES_FLAGS = /^(add|sub|cmp|neg)$/;

export const processor: Fuzzer = {
  name: 'processor',
  description: 'random sequences of instructions, engine against the processor underneath',
  words: 'WORD (rows whose file or key contains it), jit (the second tier)',
  missing() {
    if (process.platform !== 'linux' || process.arch !== 'x64')
      return 'the processor underneath is to be an x86-64 of Linux';
    if (!/\bfsgsbase\b/.test(readFileSync('/proc/cpuinfo', 'latin1')))
      return 'the kernel or the processor does not let programs write FS.base (WRFSBASE)';
    return spawnSync('gcc', ['--version']).error ? 'gcc is not installed: it builds the harness' : undefined;
  },
  async run(limits) {
    const native = openNative();
    try {
      return new ProcessorFuzz(native, limits).run();
    } finally {
      native.close();
    }
  },
};

class ProcessorFuzz {
  readonly #native: Native;
  readonly #limits: Limits;
  readonly #jit: boolean;
  readonly #guest: OracleGuest;
  readonly #byMode: Map<Mode, Row[]>;
  /** Fields that this host changes by itself. */
  readonly #hosts = new Set<string>();
  /** Where the processor may do, and does, otherwise than the engine. */
  readonly #models: DifferingModels;
  /** Sequences that the processor did not do twice in the same way. */
  #unsteady = 0;

  constructor(native: Native, limits: Limits) {
    this.#native = native;
    this.#limits = limits;
    this.#jit = limits.words.includes('jit');
    this.#guest = new OracleGuest(this.#jit);
    this.#models = differingModels(native);
    const wanted = limits.words.filter(word => word !== 'jit');
    const isWanted = (row: Row) =>
      wanted.length === 0 ||
      DEFINES_FLAGS.test(row.name) ||
      wanted.some(word => fileOf(row).includes(word) || rowKey(row).includes(word));
    const fuzzable = (row: Row, mode: Mode) =>
      isWanted(row) && isFuzzable(row, mode) && (!row.feature || offered.has(row.feature));
    this.#byMode = new Map(MODES.map(mode => [mode, rows.filter(row => fuzzable(row, mode))]));
  }

  run(): Outcome {
    this.#calibrate();
    const { seconds = Number.POSITIVE_INFINITY, count = Number.POSITIVE_INFINITY } = this.#limits;
    const end = performance.now() + seconds * 1000;
    let seed = this.#limits.seed;
    let done = 0;
    let instructions = 0;
    const notes = () =>
      [
        `${instructions} instructions`,
        this.#hosts.size > 0 && `not compared, for this host changes them by itself: ${[...this.#hosts].join(', ')}`,
        this.#models.length > 0 && `left out, for this host: ${this.#models.map(({ what }) => what).join(', ')}`,
        this.#unsteady > 0 && `${this.#unsteady} sequences that the processor did not repeat`,
      ]
        .filter(Boolean)
        .join('; ');
    while (performance.now() < end && done < count) {
      const batch: Sequence[] = [];
      for (const first = seed; batch.length < Math.min(SEQUENCES, count - done); seed++) {
        const sequence = begin(MODES[seed % (this.#jit ? 2 : 3)]!, seed);
        if (sequence) batch.push(sequence);
        // A single seed may have no room for its code: then there is nothing to try.
        else if (count === 1 && seed >= first)
          return { count: 1, next: seed + 1, notes: 'this seed makes no sequence' };
      }
      this.#execute(batch);
      for (const sequence of batch) {
        done++;
        instructions += sequence.codes.length;
        const finding = sequence.codes.length > 0 ? this.#judge(sequence) : undefined;
        if (finding) return { count: done, next: sequence.seed + 1, notes: notes(), finding };
      }
    }
    return { count: done, next: seed, notes: notes() };
  }

  /** What a NOP does to a state, apart from RIP, is not the processor's doing. */
  #calibrate(): void {
    const cases: NativeCase[] = MODES.flatMap(mode =>
      Array.from({ length: NOPS }, (_, seed) => {
        const { bytes, view } = createImage();
        makeInitial(bytes, view, mode, seed);
        return { code: NOP, initial: bytes };
      }),
    );
    this.#native.run(cases).forEach(({ vector, final }, i) => {
      if (vector !== RETIRED) return;
      const expected = cases[i]!.initial.slice();
      const view = new DataView(expected.buffer);
      view.setBigUint64(RIP, new DataView(final.buffer).getBigUint64(RIP, true), true);
      for (const { field } of differences(cases[i]!.initial, expected, final)) this.#hosts.add(field);
    });
  }

  /** All sequences advance together, one instruction of each in a run of the harness. */
  #execute(batch: readonly Sequence[]): void {
    for (let step = 0; step < LENGTH; step++) {
      const cases: NativeCase[] = [];
      const owners: Sequence[] = [];
      for (const sequence of batch) {
        const next = sequence.over ? undefined : draw(sequence, this.#byMode.get(sequence.mode)!, this.#models);
        if (!next) continue;
        cases.push(next);
        owners.push(sequence);
      }
      this.#native.run(cases).forEach((outcome, i) => {
        const sequence = owners[i]!;
        const { code, repeat = false } = cases[i]!;
        // Faults are the vectors' business: a sequence ends before one.
        if (outcome.vector !== RETIRED || leavesTheLine(sequence.now, outcome.final, code)) {
          sequence.over = true;
          return;
        }
        sequence.codes.push(code);
        sequence.repeats.push(repeat);
        sequence.now = outcome.final;
        sequence.flagsUndefined = sequence.drawn!.undefined !== undefined;
        sequence.undefines.push(sequence.flagsUndefined);
        if (memoryChanges(sequence.now) > MEMORY_ROOM) sequence.over = true;
      });
    }
  }

  #judge(sequence: Sequence): Finding | undefined {
    if (this.#differences(sequence).length === 0) return undefined;
    for (let repeat = 0; repeat < REPEATS; repeat++) {
      const again = this.#again(sequence);
      if (again && this.#differences(again).length > 0) continue;
      this.#unsteady++;
      return undefined;
    }
    const smallest = this.#shrink(sequence);
    return {
      seed: sequence.seed,
      reason: this.#differences(smallest).join('\n'),
      input: [`${smallest.mode}-bit:`, ...disassembleAll(smallest.codes, smallest.mode).map(line => `  ${line}`)].join(
        '\n',
      ),
    };
  }

  /** What the engine does otherwise than the processor, a line each. */
  #differences(sequence: Sequence): string[] {
    const { mode, start } = sequence;
    const code = Uint8Array.from(sequence.codes.flatMap(piece => [...piece]));
    const actual = Uint8Array.from(start);
    const image = new DataView(actual.buffer);
    const translated = this.#jit && this.#guest.runTranslated(actual, image, mode, code, undefined);
    const answer = translated || this.#guest.runThrough(actual, image, mode, code);
    const expected = sequence.now.slice();
    if (sequence.flagsUndefined) expected.set(actual.subarray(FLAGS, FLAGS + 4), FLAGS);
    if (answer.vector !== RETIRED || answer.trouble) {
      const where = `${answer.errorCode.toString(16)}, CR2 ${answer.cr2.toString(16)}`;
      return [`exception ${answer.vector}, code ${where} ${answer.trouble ?? ''}`];
    }
    const show = ({ field, before, expected, actual }: Difference) =>
      `${field}: was ${before}, expected ${expected}, got ${actual}`;
    return differences(start, expected, actual)
      .filter(({ field }) => !this.#hosts.has(field))
      .map(show);
  }

  /** The same start, and the instructions natively, one by one, but for one; undefined where one faults or jumps. */
  #again(sequence: Sequence, without = -1): Sequence | undefined {
    const [codes, repeats, undefines] = [sequence.codes, sequence.repeats, sequence.undefines].map(list =>
      list.filter((_, at) => at !== without),
    ) as [Uint8Array[], boolean[], boolean[]];
    const again: Sequence = { ...sequence, codes, repeats, undefines, now: sequence.start.slice() };
    for (const [index, code] of codes.entries()) {
      const [outcome] = this.#native.run([{ code, initial: again.now, repeat: repeats[index]! }]);
      if (outcome?.vector !== RETIRED || leavesTheLine(again.now, outcome.final, code)) return undefined;
      again.now = outcome.final;
    }
    return again;
  }

  /** Without the instructions that do not matter. */
  #shrink(sequence: Sequence): Sequence {
    let smallest = sequence;
    for (let index = 0; index < smallest.codes.length; ) {
      // What defines the flags again after one that leaves them undefined has to stay; so has the last one, which decides about the end.
      const needed = index === smallest.codes.length - 1 || smallest.undefines[index - 1];
      const again = needed ? undefined : this.#again(smallest, index);
      if (again && this.#differences(again).length > 0) smallest = again;
      else index++;
    }
    return smallest;
  }
}

function begin(mode: Mode, seed: number): Sequence | undefined {
  const { bytes, view } = createImage();
  makeInitial(bytes, view, mode, seed);
  // Room for the whole sequence in the page.
  if ((view.getUint32(RIP, true) & 0xfff) + CODE_ROOM > 0xfff) return undefined;
  return {
    mode,
    seed,
    random: new Random(seed ^ 0x2545f491),
    start: bytes,
    now: bytes.slice(),
    codes: [],
    repeats: [],
    undefines: [],
    drawn: undefined,
    flagsUndefined: false,
    over: false,
  };
}

/**
 * The next instruction of a sequence; undefined when the dice found none. What leaves flags undefined is followed by one
 * that defines them all.
 */
function draw(sequence: Sequence, choices: readonly Row[], models: DifferingModels): NativeCase | undefined {
  const { mode, random, now } = sequence;
  const view = new DataView(now.buffer);
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const row = random.pick(choices);
    if (sequence.flagsUndefined && !DEFINES_FLAGS.test(row.name)) continue;
    const encoded = encode({ row, mode, initial: view, random });
    if (!encoded || isUndefined(row, mode, encoded.code, now)) continue;
    if (models.some(({ concerns }) => concerns(row, mode, encoded, view))) continue;
    sequence.drawn = row;
    return { code: encoded.code, initial: now, repeat: /^rep/.test(row.name) };
  }
  return undefined;
}

/** True if the instruction went anywhere but to the next one, or changed a segment. */
function leavesTheLine(before: Uint8Array, after: Uint8Array, code: Uint8Array): boolean {
  const [x, y] = [new DataView(before.buffer), new DataView(after.buffer)];
  if (y.getUint32(RIP, true) !== x.getUint32(RIP, true) + code.length) return true;
  return [0, 2, 4, 6, 8, 10].some(at => y.getUint16(SELECTORS + at, true) !== x.getUint16(SELECTORS + at, true));
}
