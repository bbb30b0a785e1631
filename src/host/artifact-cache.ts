/**
 * Where what a machine makes at every start, the same each time, may be kept from one process to the next. What is in
 * it is valid for this version of the code alone: whoever implements it sees to that.
 */
export interface ArtifactCache {
  /** What was saved under the name; undefined if nothing was, or not all of it is there any more. */
  load(name: string): Uint8Array<ArrayBuffer> | undefined;
  /** Keeps data, in one piece or several, if that is possible. `name` is a file name. */
  save(name: string, ...pieces: Uint8Array[]): void;
}
