/** For tests: a program's end of a connection. */
import type { TcpSocket } from '../host/sockets.ts';

/** A program's socket, and what has been done to it. */
export function fakeSocket() {
  const done: string[] = [];
  const state = { pending: 0 };
  const socket: TcpSocket = {
    write: bytes =>
      void done.push(bytes.length > 40 ? `write ${bytes.length}` : `write ${new TextDecoder().decode(bytes)}`),
    get pending() {
      return state.pending;
    },
    end: () => void done.push('end'),
    pause: () => void done.push('pause'),
    resume: () => void done.push('resume'),
    reset: () => void done.push('reset'),
  };
  return { socket, state, take: () => done.splice(0) };
}
