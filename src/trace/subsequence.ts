/** The longest common subsequence of two lists, as `diff` finds it. */

/**
 * Takes time and memory in proportion to the product of the lengths: for lists of a few thousand.
 * @returns pairs of places, ascending
 */
export function longestCommonSubsequence(x: readonly string[], y: readonly string[]): [number, number][] {
  // lengths[i * width + j]: of what x has from i on and y from j on.
  const width = y.length + 1;
  const lengths = new Uint16Array((x.length + 1) * width);
  for (let i = x.length - 1; i >= 0; i--)
    for (let j = y.length - 1; j >= 0; j--)
      lengths[i * width + j] =
        x[i] === y[j]
          ? lengths[(i + 1) * width + j + 1]! + 1
          : Math.max(lengths[(i + 1) * width + j]!, lengths[i * width + j + 1]!);
  const pairs: [number, number][] = [];
  for (let [i, j] = [0, 0]; i < x.length && j < y.length; )
    if (x[i] === y[j]) pairs.push([i++, j++]);
    else if (lengths[(i + 1) * width + j]! >= lengths[i * width + j + 1]!) i++;
    else j++;
  return pairs;
}
