/** Notices a text in bytes that come in pieces. */

export interface TextWatch {
  /** @returns true if the text has been completed by this piece, the first time */
  feed(data: Uint8Array): boolean;
  readonly seen: boolean;
}

export function createTextWatch(text: string): TextWatch {
  const decoder = new TextDecoder();
  let tail = '';
  let seen = false;
  return {
    feed(data) {
      if (seen) return false;
      const all = tail + decoder.decode(data, { stream: true });
      seen = all.includes(text);
      tail = text.length > 1 ? all.slice(1 - text.length) : '';
      return seen;
    },
    get seen() {
      return seen;
    },
  };
}
