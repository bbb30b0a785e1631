/**
 * Two recordings of one kernel, side by side: the first instruction count at which they differ, and how. Both are repeated, stretch by stretch, and
 * compared after each; where they differ, both go back, and the stretch is halved until it is one instruction (machine/timeline.ts).
 *
 * What is compared: what came from outside, with its place; what the guests have written to their consoles; registers and whose turn it is;
 * and RAM, now and then, where it is alike at the beginning. A register that differs for less than a stretch, and leaves no trace, is not found.
 */
import type { Exit } from '../exits.ts';
import { describeInput, type RecordedInput, recordedInputs } from '../replay/recorded-inputs.ts';
import { type Comparison, differenceOf } from './compare-machines.ts';
import type { MachineOptions } from './options.ts';
import { type AssembledTimeline, assembleTimeline } from './timeline.ts';

/** Instructions between two comparisons, and comparisons between two that look at all RAM. */
const STRETCH = 1_000_000;
const RAM_EVERY = 20;

export interface RecordedRun {
  /** For people. */
  readonly name: string;
  /** The machine of the recording, without a door. */
  readonly options: MachineOptions;
  readonly journal: Uint8Array;
}

export interface ComparisonResult {
  /** Executed before the instruction that makes the difference, or up to the end of the comparison. */
  readonly instructions: number;
  /** How they differ after the next instruction; undefined: they are alike. */
  readonly difference: string | undefined;
  /** Why the comparison has ended, where they are alike. */
  readonly ended: string;
  /** RIP of each before the instruction that makes the difference. */
  readonly rips: readonly [bigint, bigint];
}

export interface ComparisonLimits {
  /** The comparison ends where both consoles have shown this. */
  until?: string | undefined;
  /** Called after each stretch, with the instructions that have been executed. */
  onProgress?: (instructions: number) => void;
}

/** @throws SnapshotError, Divergence, Error as `createMachine` */
export async function compareRecordings(
  older: RecordedRun,
  newer: RecordedRun,
  { until, onProgress }: ComparisonLimits = {},
): Promise<ComparisonResult> {
  const pair = new Pair(await Side.of(older), await Side.of(newer));
  const misfit = pair.misfit();
  if (misfit !== undefined) return pair.result(misfit);
  const outside = pair.firstInput();
  const most = outside?.instructions ?? Number.POSITIVE_INFINITY;
  // Whose firmware differs is compared by what executes.
  const hasRam = pair.difference(true) === pair.difference(false);
  let alike = pair.place;
  for (let count = 0; ; count++) {
    const looksAtRam = hasRam && (count % RAM_EVERY === 0 || pair.isOver || pair.place >= most);
    if (pair.difference(looksAtRam) !== undefined) return pair.narrow(alike, pair.place, hasRam);
    if (looksAtRam || !hasRam) alike = pair.place;
    if (until !== undefined && pair.haveShown(until))
      return pair.result(undefined, `both have shown ${JSON.stringify(until)}`);
    if (pair.place >= most) return pair.result(outside!.difference);
    if (pair.isOver) return pair.end();
    await pair.goOn(Math.min(pair.place + STRETCH, most));
    onProgress?.(pair.place);
  }
}

/** A recording that is repeated. */
class Side {
  readonly name: string;
  readonly machine: AssembledTimeline['machine'];
  readonly timeline: AssembledTimeline['timeline'];
  readonly inputs: readonly RecordedInput[];
  /** What the guest has written to its console, whatever has been gone back since. */
  readonly shown: () => string;
  /** Where and how the run ended, where that is known. */
  ended: { at: number; exit: Exit } | undefined;

  private constructor({ name, journal }: RecordedRun, { machine, timeline }: AssembledTimeline, shown: () => string) {
    this.name = name;
    this.machine = machine;
    this.timeline = timeline;
    const begins = machine.instructions;
    this.inputs = recordedInputs(journal).map(input => ({ ...input, instructions: begins + input.instructions }));
    this.shown = shown;
  }
  static async of(run: RecordedRun): Promise<Side> {
    let shown = '';
    const console = {
      write: (data: Uint8Array) => void (shown += String.fromCharCode(...data)),
      onInput() {},
    };
    const assembled = await assembleTimeline({ ...run.options, console }, run.journal);
    assembled.timeline.keep(true);
    return new Side(run, assembled, () => shown);
  }

  get place(): number {
    return this.machine.instructions;
  }
  get isAtEnd(): boolean {
    return this.ended?.at === this.place;
  }
  /** The console at this place. */
  get text(): string {
    return this.shown().slice(0, this.timeline.written);
  }
  get rip(): bigint {
    return this.timeline.engine.core.running.cpu.rip;
  }
  /** Goes on to a place, or to the end where that comes first. */
  async goOn(to: number): Promise<void> {
    if (this.isAtEnd) return;
    const exit = await this.machine.run({ instructions: to - this.place });
    if (exit.kind !== 'stopped' || this.timeline.isOver) this.ended = { at: this.place, exit };
  }
  async goTo(place: number): Promise<void> {
    if (this.place !== place) await this.timeline.goTo(place);
  }
  get end(): string {
    const { exit } = this.ended!;
    if (exit.kind === 'stopped') return 'its recording ends';
    return `it ends (${exit.kind}${'reason' in exit ? `: ${exit.reason}` : ''})`;
  }
}

class Pair {
  readonly #older: Side;
  readonly #newer: Side;
  readonly #compare: Comparison['difference'];

  constructor(older: Side, newer: Side) {
    this.#older = older;
    this.#newer = newer;
    this.#compare = differenceOf([`in ${older.name}`, `in ${newer.name}`]);
  }

  /** Both have executed so many instructions. */
  get place(): number {
    return this.#older.place;
  }
  result(difference?: string, ended = ''): ComparisonResult {
    const [older, newer] = [this.#older, this.#newer];
    return { instructions: this.place, difference, ended, rips: [older.rip, newer.rip] };
  }
  /** Why they cannot be compared, step by step. */
  misfit(): string | undefined {
    const [older, newer] = [this.#older, this.#newer];
    const of = ({ timeline, place }: Side) =>
      `${timeline.engine.core.vcpus.length} processors, ${timeline.engine.memory.size} bytes of RAM, ${place} instructions`;
    if (of(older) !== of(newer)) return `${older.name} begins with ${of(older)}, ${newer.name} with ${of(newer)}`;
    return undefined;
  }
  difference(ram: boolean): string | undefined {
    const [older, newer] = [this.#older, this.#newer];
    const found = this.#compare(older.timeline.engine, newer.timeline.engine, ram);
    if (found !== undefined) return found;
    const [text, other] = [older.text, newer.text];
    if (text === other) return undefined;
    let at = 0;
    while (text[at] === other[at]) at++;
    const near = (shown: string) => JSON.stringify(shown.slice(Math.max(0, at - 20), at + 40));
    return `the console shows ${near(text)} in ${older.name}, ${near(other)} in ${newer.name}`;
  }
  /** The first input in which they differ. */
  firstInput(): { instructions: number; difference: string } | undefined {
    const [older, newer] = [this.#older, this.#newer];
    for (let index = 0; ; index++) {
      const [one, other] = [older.inputs[index], newer.inputs[index]];
      if (!one && !other) return undefined;
      const key = (input: RecordedInput | undefined) => input && `${input.instructions} ${input.input} ${input.bytes}`;
      if (key(one) === key(other)) continue;
      const instructions = Math.min(one?.instructions ?? Infinity, other?.instructions ?? Infinity);
      const here = (input: RecordedInput | undefined) =>
        input?.instructions === instructions ? describeInput(input) : 'nothing';
      return { instructions, difference: `input is ${here(one)} in ${older.name}, ${here(other)} in ${newer.name}` };
    }
  }

  async goOn(to: number): Promise<void> {
    const [older, newer] = [this.#older, this.#newer];
    await older.goOn(to);
    await newer.goOn(to);
    await this.#goTo(Math.min(older.place, newer.place));
  }
  async #goTo(place: number): Promise<void> {
    await this.#older.goTo(place);
    await this.#newer.goTo(place);
  }
  /** One of them ends here. */
  get isOver(): boolean {
    return this.#older.isAtEnd || this.#newer.isAtEnd;
  }
  /** They are alike up to where one of them ends. */
  end(): ComparisonResult {
    const [older, newer] = [this.#older, this.#newer];
    const how = (side: Side) => (side.isAtEnd ? side.end : 'it goes on');
    const isCut = [older, newer].some(side => side.isAtEnd && side.ended!.exit.kind === 'stopped');
    if (how(older) === how(newer)) return this.result(undefined, `in both ${how(older)}`);
    const ends = `in ${older.name} ${how(older)}, in ${newer.name} ${how(newer)}`;
    return isCut ? this.result(undefined, ends) : this.result(ends);
  }
  haveShown(text: string): boolean {
    return this.#older.text.includes(text) && this.#newer.text.includes(text);
  }

  /** They are alike at `from`, and differ at `to`: finds the first instruction after which they do. */
  async narrow(from: number, to: number, ram: boolean): Promise<ComparisonResult> {
    let [alike, differ] = [from, to];
    if (this.place === from) return this.result(this.difference(ram));
    while (differ - alike > 1) {
      const middle = alike + Math.floor((differ - alike) / 2);
      await this.#goTo(middle);
      if (this.difference(ram) === undefined) alike = middle;
      else differ = middle;
    }
    await this.#goTo(alike);
    const before = this.result();
    await this.#older.goOn(differ);
    await this.#newer.goOn(differ);
    return { ...before, difference: this.difference(ram) };
  }
}
