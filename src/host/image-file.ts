/** A file that holds a disk image in a format of its own: it grows as it is written. Synchronous, as `Disk` is. */
export interface ImageFile {
  /** For people. */
  readonly name: string;
  readonly readOnly: boolean;
  /** Bytes, as it is now. */
  readonly size: number;
  /** Fills `into` from `offset` (bytes); with zeros beyond the end. @throws Error when the host cannot read */
  read(offset: number, into: Uint8Array): void;
  /** Beyond the end, too: what lies between is zeros. @throws Error when the host cannot write */
  write(offset: number, from: Uint8Array): void;
  /** Returns when all that was written is on stable storage. */
  flush(): void;
  close(): void;
}
