/** Text to compress, sort and search: lines of a number and some words, few of which are frequent, as in languages. */

const SIZE = 4 << 20;
const VOCABULARY = 3000;
const LETTERS = 'etaoinshrdlucmfwygpbvk';

/** The same 4 MiB on every call and every machine. */
export function sampleText(): string {
  let state = 2463534242;
  /** xorshift32 (Marsaglia 2003). @returns an integer in [0, limit) */
  const random = (limit: number): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
  /** Small ones are more frequent. */
  const skewed = (limit: number): number => Math.min(random(limit), random(limit), random(limit));
  const words = Array.from({ length: VOCABULARY }, () =>
    Array.from({ length: 2 + random(8) }, () => LETTERS[skewed(LETTERS.length)]).join(''),
  );
  const lines: string[] = [];
  for (let length = 0; length < SIZE; ) {
    const line = [random(1_000_000), ...Array.from({ length: 4 + random(8) }, () => words[skewed(VOCABULARY)])].join(
      ' ',
    );
    lines.push(line);
    length += line.length + 1;
  }
  return `${lines.join('\n')}\n`;
}
