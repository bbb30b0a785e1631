/** "Did you mean": the name that takes the fewest edits (insert, drop, replace or swap a letter) to reach. */

/** @returns the best of `names`, or undefined where none is close enough to have been meant. */
export function nearest(word: string, names: readonly string[]): string | undefined {
  let best: string | undefined;
  let least = Math.max(2, Math.floor(word.length * 0.4)) + 1;
  for (const name of names) {
    const typed = word.toLowerCase();
    const count = name.startsWith(typed) && typed.length > 1 ? 1 : edits(typed, name.toLowerCase());
    if (count < least) [best, least] = [name, count];
  }
  return best;
}

/** The optimal string alignment distance. */
export function edits(a: string, b: string): number {
  const rows = [[...Array(b.length + 1).keys()]];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = rows[i - 1][j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      row[j] = Math.min(replace, rows[i - 1][j] + 1, row[j - 1] + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        row[j] = Math.min(row[j], rows[i - 2][j - 2] + 1);
    }
    rows.push(row);
  }
  return rows[a.length][b.length];
}
