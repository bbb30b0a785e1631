/** The machine's console: what the guest writes goes out, what a user types comes in. */
export interface Console {
  /** Guest output. The array is the callee's to keep. */
  write(data: Uint8Array): void;
  /** The machine hands in the function that takes what was typed. */
  onInput(take: (data: Uint8Array) => void): void;
}

/** Nobody looks, and nobody types. */
export const MUTE: Console = { write() {}, onInput() {} };
