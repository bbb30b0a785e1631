/**
 * The names busybox answers to. It is asked without being run (it may be built for another architecture): the names stand
 * in its file as one sorted run of NUL-terminated words that begins with "[" and "[[".
 */
import { ImageError } from '../image-error.ts';

/** busybox's applets, in its order. @throws ImageError when the file has no such table. */
export function busyboxApplets(bytes: Uint8Array): string[] {
  const start = [0, 0x5b, 0, 0x5b, 0x5b, 0]; // \0[\0[[\0
  let best: string[] = [];
  for (let at = bytes.indexOf(0x5b); at > 0; at = bytes.indexOf(0x5b, at + 1)) {
    if (!start.every((value, index) => bytes[at - 1 + index] === value)) continue;
    const names = wordsAt(bytes, at);
    if (names.length > best.length) best = names;
  }
  if (!best.includes('sh')) throw new ImageError('busybox has no list of applets in it: is it a busybox?');
  return best;
}

/** The run of sorted words that starts at `at`. */
function wordsAt(bytes: Uint8Array, at: number): string[] {
  const words: string[] = [];
  while (at < bytes.length) {
    const end = bytes.indexOf(0, at);
    if (end <= at || end - at > 32) break;
    const word = new TextDecoder('latin1').decode(bytes.subarray(at, end));
    if (!/^[a-z0-9[][a-z0-9_.[-]*$/.test(word) || (words.length > 0 && word <= words[words.length - 1])) break;
    words.push(word);
    at = end + 1;
  }
  return words;
}
