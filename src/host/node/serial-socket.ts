/** A serial port at a UNIX socket: whoever connects to it reads what the guest sends, and sends what the guest reads. */
import type { Socket } from 'node:net';
import type { Console } from '../console.ts';
import { listenAt } from './unix-listener.ts';

/** Bytes that may wait for a client that does not read. What comes then is lost, as on a line without flow control. */
const MOST_WAITING = 1 << 20;
/** Bytes a millisecond that are read of the client: what the port takes (devices/uart-16550.ts). A client that sends more has to wait. */
const PACE = 80;

export interface SerialSocket extends Console {
  /** Ends the connection, and removes the path. */
  close(): void;
}

/**
 * One client at a time: others are cut off at once. Without one, what the guest sends is lost.
 * @param path where to listen
 * @throws PathInUseError, or Error for a path that cannot be listened at
 */
export async function serialSocket(path: string): Promise<SerialSocket> {
  let client: Socket | undefined;
  let take = (_data: Uint8Array) => {};
  const server = await listenAt(path, socket => {
    socket.on('error', () => socket.destroy());
    if (client) return void socket.destroy();
    client = socket;
    socket.on('data', data => {
      socket.pause();
      setTimeout(() => socket.resume(), data.length / PACE).unref();
      take(Uint8Array.from(data));
    });
    // A client that is gone looks the same: the place is for the next one.
    socket.on('end', () => socket.end());
    socket.on('close', () => {
      client = undefined;
    });
  });
  return {
    write(data) {
      if (client?.writable && client.writableLength < MOST_WAITING) client.write(data);
    },
    onInput: given => void (take = given),
    close() {
      client?.destroy();
      server.close();
    },
  };
}
