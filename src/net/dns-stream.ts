/** DNS over TCP (RFC 7766): queries and answers with their lengths in front, on a connection that ends with this process. */
import type { TcpHandler, TcpSocket } from '../host/sockets.ts';
import { setWord, word } from './packet.ts';

/** Answers a message, some time; undefined is for what is no query. */
export type Ask = (message: Uint8Array, answer: (bytes: Uint8Array | undefined) => void) => void;

/** The other end of a guest's connection. @param handler what hears of it, once it is told that it is connected */
export function dnsStream(handler: TcpHandler, ask: Ask): TcpSocket {
  const state = { bytes: new Uint8Array(0), asked: 0, ending: false, over: false };
  const close = () => {
    if (state.over) return;
    state.over = true;
    handler.closed();
  };
  const answer = (bytes: Uint8Array | undefined) => {
    state.asked--;
    if (state.over) return;
    if (!bytes) return close();
    const framed = new Uint8Array(2 + bytes.length);
    setWord(framed, 0, bytes.length);
    framed.set(bytes, 2);
    handler.data(framed);
    if (state.ending && state.asked === 0) close();
  };
  return {
    pending: 0,
    write(bytes) {
      // At most one message and a piece: no more has been kept from before.
      const all = new Uint8Array(state.bytes.length + bytes.length);
      all.set(state.bytes);
      all.set(bytes, state.bytes.length);
      let at = 0;
      while (!state.over && all.length - at >= 2) {
        const end = at + 2 + word(all, at);
        if (end > all.length) break;
        state.asked++;
        ask(all.slice(at + 2, end), answer);
        at = end;
      }
      state.bytes = all.slice(at);
    },
    end() {
      state.ending = true;
      if (state.asked === 0) close();
    },
    pause() {},
    resume() {},
    reset: () => void (state.over = true),
  };
}
