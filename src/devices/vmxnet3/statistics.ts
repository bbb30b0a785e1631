/** What a VMXNET3 queue counts, in the order in which its driver reads it: numbers of frames and of bytes. */

/** Large, unicast, multicast and broadcast, each frames and bytes; then two of what was lost. */
export type Statistics = Float64Array;

export const newStatistics = (): Statistics => new Float64Array(10);

/** Counts a frame that has passed. @param large it stands for several */
export function count(statistics: Statistics, frame: Uint8Array, large: boolean): void {
  const kind = !(frame[0] & 1) ? 2 : frame.subarray(0, 6).every(byte => byte === 0xff) ? 6 : 4;
  for (const at of large ? [0, kind] : [kind]) {
    statistics[at]++;
    statistics[at + 1] += frame.length;
  }
}
