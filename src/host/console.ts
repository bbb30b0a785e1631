/** The machine's console: bytes out to somebody who reads, bytes in from somebody who types. */
export interface Console {
  /** Guest output. The array is the callee's to keep. */
  write(data: Uint8Array): void;
  /** The machine hands in the function that takes what was typed. */
  onInput(take: (data: Uint8Array) => void): void;
}
