/** Notices a text in bytes that come in pieces. */

export interface TextWatch {
  /** @returns true if the text has been completed by this piece, the first time */
  feed(data: Uint8Array): boolean;
  readonly seen: boolean;
}

/** @param ending what follows the text somewhere later, in a few bytes */
export function createTextWatch(text: string, ending = ''): TextWatch {
  const decoder = new TextDecoder();
  let tail = '';
  let seen = false;
  return {
    feed(data) {
      if (seen) return false;
      const all = tail + decoder.decode(data, { stream: true });
      const at = all.lastIndexOf(text);
      seen = at >= 0 && all.includes(ending, at + text.length);
      tail = at >= 0 ? all.slice(at) : text.length > 1 ? all.slice(1 - text.length) : '';
      return seen;
    },
    get seen() {
      return seen;
    },
  };
}
