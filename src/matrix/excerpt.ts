/** The beginning and the end of a text of any length, in bounded memory. */

/** Characters. */
const HEAD = 64 << 10;
const TAIL = 96 << 10;

export function createExcerpt() {
  const decoder = new TextDecoder();
  let head = '';
  let tail = '';
  let left = 0;
  return {
    add(bytes: Uint8Array): void {
      let text = decoder.decode(bytes, { stream: true });
      if (head.length < HEAD) {
        const part = text.slice(0, HEAD - head.length);
        head += part;
        text = text.slice(part.length);
      }
      tail += text;
      if (tail.length > 2 * TAIL) {
        left += tail.length - TAIL;
        tail = tail.slice(-TAIL);
      }
    },
    get text(): string {
      return left === 0 ? head + tail : `${head}\n[… ${left} characters left out …]\n${tail}`;
    },
  };
}
