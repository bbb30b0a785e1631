/**
 * The programs at the host's end of a guest's vsock, by UNIX sockets, as Firecracker does it: who connects to the socket at PATH and sends
 * `CONNECT PORT\n` reaches port PORT of the guest's, and reads `OK HOSTPORT\n` when the guest has accepted; what the guest connects to as
 * port PORT of the host's is the socket at PATH_PORT.
 */
import { createConnection, type Socket } from 'node:net';
import type { TcpHandler } from '../sockets.ts';
import type { VsockPrograms } from '../vsock.ts';
import { streamSocket } from './sockets.ts';
import { listenAt, PathInUseError } from './unix-listener.ts';

/** Bytes of the first line. */
const LONGEST_LINE = 32;
const LAST_PORT = 2 ** 32 - 2;

export { PathInUseError as VsockInUseError };

/**
 * @param path where the host's programs connect to
 * @throws PathInUseError, or Error for a path that cannot be listened at
 */
export async function vsockPrograms(path: string): Promise<VsockPrograms> {
  type Accept = Parameters<VsockPrograms['attach']>[0];
  let accept: Accept | undefined;
  const server = await listenAt(path, socket => greet(socket, accept));
  return {
    open: (port, handler) => {
      const socket = createConnection({ path: `${path}_${port}`, allowHalfOpen: true });
      return streamSocket(socket, handler, () => void socket.destroy());
    },
    attach: given => void (accept = given),
    close: () => void server.close(),
  };
}

/** Reads the first line. Whoever sends another one is cut off. */
function greet(socket: Socket, accept: Parameters<VsockPrograms['attach']>[0] | undefined): void {
  let line = Buffer.alloc(0);
  const drop = () => void socket.destroy();
  socket.on('error', drop);
  socket.on('end', drop);
  const read = (piece: Buffer) => {
    line = Buffer.concat([line, piece]);
    const end = line.indexOf('\n');
    if (end < 0 ? line.length > LONGEST_LINE : end > LONGEST_LINE) return drop();
    if (end < 0) return;
    const match = /^CONNECT (\d{1,10})\r?$/i.exec(line.toString('latin1', 0, end));
    const port = Number(match?.[1]);
    if (!match || port > LAST_PORT || !accept) return drop();
    socket.off('data', read);
    socket.off('error', drop);
    socket.off('end', drop);
    socket.pause();
    if (end + 1 < line.length) socket.unshift(line.subarray(end + 1));
    const held: { handler?: TcpHandler } = {};
    const stream = streamSocket(
      socket,
      {
        data: bytes => held.handler?.data(bytes),
        ended: () => held.handler?.ended(),
        drained: () => held.handler?.drained(),
        closed: error => held.handler?.closed(error),
      },
      drop,
    );
    // Nothing else has been written before.
    held.handler = accept(port, stream, own => void socket.write(`OK ${own}\n`));
  };
  socket.on('data', read);
}
