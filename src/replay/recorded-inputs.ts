/** What a recording says was given to its machine from outside, and when: read from the journal alone. */
import { Divergence, END, FLAG, INPUT, JournalReader, NOW, SEED, SLICE, WALL } from './journal.ts';

export interface RecordedInput {
  /** Executed by all processors before it came, since the recording began. */
  readonly instructions: number;
  /** As the journal has it: 0: typed, 1: a request, from 2 on: a frame, 255: what arrives at the second serial port. */
  readonly input: number;
  readonly bytes: Uint8Array;
}

/** @throws Divergence where the journal is damaged */
export function recordedInputs(journal: Uint8Array): RecordedInput[] {
  const reader = new JournalReader(journal);
  const found: RecordedInput[] = [];
  let instructions = 0;
  const passOver: Readonly<Record<number, () => void>> = {
    [NOW]: () => reader.count(),
    [WALL]: () => reader.u64(),
    [SLICE]() {
      reader.count();
      instructions += reader.count();
      reader.u32();
    },
    [INPUT]() {
      const input = reader.count();
      found.push({ instructions, input, bytes: reader.raw() });
    },
    [FLAG]: () => reader.count(),
    [END]: () => reader.raw(),
    [SEED]: () => reader.u64(),
  };
  while (reader.next !== 0) {
    const read = passOver[reader.kind()];
    if (!read) throw new Divergence('the recording is damaged: an entry of no kind that is known');
    read();
  }
  return found;
}

/** For people. */
export function describeInput({ input, bytes }: RecordedInput): string {
  const text = () => JSON.stringify(String.fromCharCode(...bytes.subarray(0, 40)));
  if (input === 0) return `typed ${text()}`;
  if (input === 255) return `sent to the second serial port: ${text()}`;
  return input === 1 ? 'a request to switch off' : `a frame of ${bytes.length} bytes of network ${input - 2}`;
}
