/**
 * A disk image as devices see it. Synchronous: what `flush` returned from has reached the host's storage, so that a
 * guest's `sync` means what it says even if the process is killed the next moment.
 */
export interface Disk {
  readonly name: string;
  /** Size in bytes; a multiple of 512. */
  readonly size: number;
  readonly readOnly: boolean;
  /** The bus that it is plugged into; undefined: the one at which guests of the machine's hypervisor look first. */
  readonly bus?: string | undefined;
  /** Fills `into` from `offset` (bytes). @throws RangeError outside the disk; Error when the host cannot read. */
  read(offset: number, into: Uint8Array): void;
  write(offset: number, from: Uint8Array): void;
  /** Returns when all that was written is on stable storage. */
  flush(): void;
  /** The range reads as zeros from now on; may free space on the host. */
  discard(offset: number, length: number): void;
  close(): void;
  /** Of a disk in memory that begins alike each time: it can be recorded, though it is written to. */
  readonly memory?: DiskMemory;
}

export interface DiskMemory {
  /** At its beginning there is this text; all else is zeros. */
  readonly label: string;
  /** What it has now: the same array as before, where nobody has written since. Whoever asks does not change it. */
  contents: Uint8Array;
}
