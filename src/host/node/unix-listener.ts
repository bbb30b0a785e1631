/** UNIX sockets that programs of the host connect to. */
import { lstatSync, rmSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';

/** Somebody listens at the path already. */
export class PathInUseError extends Error {
  override name = 'PathInUseError';
}

/**
 * Listens at `path`, also where a process that is gone has left its socket behind. Closing the server removes the path.
 * @param take gets each connection
 * @throws PathInUseError, or Error for a path that cannot be listened at
 */
export async function listenAt(path: string, take: (socket: Socket) => void): Promise<Server> {
  const tryIt = () =>
    new Promise<Server | NodeJS.ErrnoException>(resolve => {
      const server = createServer({ allowHalfOpen: true }, take);
      server.once('error', resolve);
      server.listen(path, () => {
        server.off('error', resolve);
        server.on('error', () => {}); // A connection that could not be accepted, for want of descriptors.
        resolve(server);
      });
    });
  let result = await tryIt();
  // What a process that is gone has left behind.
  if (!('listen' in result) && result.code === 'EADDRINUSE' && isSocket(path) && (await isStale(path))) {
    rmSync(path, { force: true });
    result = await tryIt();
  }
  if ('listen' in result) return result;
  if (result.code === 'EADDRINUSE')
    throw new PathInUseError(
      `${path}: ${isSocket(path) ? 'another program uses it' : 'is there already, and is no socket'}`,
    );
  // It is the same for a folder that is not there.
  if (result.code === 'EACCES') throw new Error(`${dirname(path)} is not there, or you may not write to it`);
  throw result;
}

const isSocket = (path: string) => lstatSync(path, { throwIfNoEntry: false })?.isSocket() ?? false;

/** True for a socket at which nobody listens. */
function isStale(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = createConnection(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  });
}
