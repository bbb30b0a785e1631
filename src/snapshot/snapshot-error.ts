/** What is wrong with a snapshot: it is cut short, damaged, of another version, or not of this machine. */
export class SnapshotError extends Error {
  override name = 'SnapshotError';
}
