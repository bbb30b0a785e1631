/** Where a row of kernels turns from good to bad, in as few boots as can be: the middle one decides which half is left. */

export type Judgement = 'good' | 'bad' | 'skip';

export interface Search {
  /** Places in the row: the last good one before the turn, and the first bad one after it. */
  good: number;
  bad: number;
  /** Those between them that could not be judged: the turn may be at any of these, too. */
  skipped: number[];
  /** How many were judged. */
  judged: number;
}

/**
 * @param count of the row, 2 or more. The first is known to be good, the last to be bad: neither is asked about.
 * @param judge is asked about ceil(log2(count - 1)) places, and about one more for each that it skips
 */
export async function findTurn(count: number, judge: (place: number) => Promise<Judgement>): Promise<Search> {
  let [good, bad, judged] = [0, count - 1, 0];
  const skipped = new Set<number>();
  for (;;) {
    const place = middle(good, bad, skipped);
    if (place === undefined) break;
    judged++;
    const judgement = await judge(place);
    if (judgement === 'good') good = place;
    else if (judgement === 'bad') bad = place;
    else skipped.add(place);
  }
  return {
    good,
    bad,
    skipped: [...skipped].filter(place => place > good && place < bad).sort((a, b) => a - b),
    judged,
  };
}

/** The place nearest to the middle of what is left. */
function middle(good: number, bad: number, skipped: ReadonlySet<number>): number | undefined {
  const centre = (good + bad) / 2;
  let best: number | undefined;
  for (let place = good + 1; place < bad; place++)
    if (!skipped.has(place) && (best === undefined || Math.abs(place - centre) < Math.abs(best - centre))) best = place;
  return best;
}
