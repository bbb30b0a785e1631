/** The host's sockets and its resolver, by Node.js. */
import { createSocket, type Socket as NodeUdpSocket } from 'node:dgram';
import { promises as dns } from 'node:dns';
import { createConnection, createServer, type Socket } from 'node:net';
import {
  type DnsAnswer,
  type DnsRecord,
  type HostSockets,
  ListenError,
  type RecordType,
  type SocketError,
  type TcpHandler,
  type TcpSocket,
  type UdpHandler,
  type UdpSocket,
} from '../sockets.ts';

const ERRORS: ReadonlyMap<unknown, SocketError> = new Map([
  ['ECONNREFUSED', 'refused'],
  ['ECONNRESET', 'reset'],
  ['EPIPE', 'reset'],
  ['ETIMEDOUT', 'timeout'],
  ['ENETUNREACH', 'unreachable'],
  ['EHOSTUNREACH', 'unreachable'],
  ['EADDRNOTAVAIL', 'unreachable'],
  ['EACCES', 'denied'],
  ['EPERM', 'denied'],
  ['EADDRINUSE', 'in-use'],
]);

function meaning(error: unknown): SocketError {
  return ERRORS.get((error as NodeJS.ErrnoException).code) ?? 'other';
}

/** What the host's sockets reach. */
export const nodeSockets: HostSockets = {
  connectTcp(address, port, handler) {
    const socket = createConnection({ host: address, port, allowHalfOpen: true });
    return streamSocket(socket, handler);
  },

  openUdp(version, handler) {
    const socket = createSocket(version === 4 ? 'udp4' : 'udp6');
    socket.on('error', error => handler.failed(meaning(error)));
    return udpSocket(socket, handler);
  },

  listenTcp: (address, port, accept) =>
    new Promise((resolve, reject) => {
      const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, socket => {
        let handler: TcpHandler | undefined;
        const made = streamSocket(socket, {
          data: bytes => handler?.data(bytes),
          ended: () => handler?.ended(),
          drained: () => handler?.drained(),
          closed: error => handler?.closed(error),
        });
        handler = accept(made);
      });
      server.once('error', error => reject(cannotListen('tcp', address, port, error)));
      server.listen({ host: address, port }, () => {
        server.on('error', () => {}); // A connection that could not be accepted, for want of descriptors.
        const bound = server.address();
        resolve({
          port: typeof bound === 'object' && bound ? bound.port : port,
          close: () => void server.close(),
        });
      });
    }),

  listenUdp: (address, port, handler) =>
    new Promise((resolve, reject) => {
      const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
      const failed = (error: Error) => reject(cannotListen('udp', address, port, error));
      socket.once('error', failed);
      socket.bind({ address, port }, () => {
        socket.off('error', failed);
        socket.on('error', error => handler.failed(meaning(error)));
        resolve({ ...udpSocket(socket, handler), port: socket.address().port });
      });
    }),

  resolve(name, type, answer) {
    lookUp(name, type).then(
      records => answer(records),
      error => answer(failedLookup(error)),
    );
  },
};

function cannotListen(protocol: string, address: string, port: number, error: Error): ListenError {
  const why = meaning(error);
  const reason =
    why === 'in-use'
      ? 'another program uses this port'
      : why === 'denied'
        ? 'the host does not let you use this port: take one above 1023'
        : why === 'unreachable'
          ? 'the host has no such address'
          : error.message;
  return new ListenError(`${protocol} ${address.includes(':') ? `[${address}]` : address}:${port}: ${reason}`, why);
}

/** @param drop ends it at once. Default: as TCP's are ended, by a reset */
export function streamSocket(
  socket: Socket,
  handler: TcpHandler,
  drop = () => void socket.resetAndDestroy(),
): TcpSocket {
  let failure: SocketError | undefined;
  let over = false;
  socket.setNoDelay(true);
  socket.on('connect', () => handler.connected?.());
  socket.on('data', data => handler.data(data));
  socket.on('end', () => handler.ended());
  socket.on('drain', () => handler.drained());
  socket.on('error', error => {
    failure = meaning(error);
  });
  socket.on('close', () => {
    if (!over) handler.closed(failure);
    over = true;
  });
  return {
    write(bytes) {
      // 'drain' comes only after a write that was too much; short ones are not worth telling of.
      if (!socket.destroyed) socket.write(bytes);
    },
    get pending() {
      return socket.writableLength;
    },
    end: () => void socket.end(),
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
    reset() {
      over = true;
      drop();
    },
  };
}

function udpSocket(socket: NodeUdpSocket, handler: UdpHandler): UdpSocket {
  let closed = false;
  socket.on('message', (bytes, { address, port }) => void (closed || handler.message(bytes, address, port)));
  return {
    send(bytes, address, port) {
      if (!closed)
        socket.send(bytes, port, address, error => void (error && !closed && handler.failed(meaning(error))));
    },
    close() {
      if (!closed) socket.close();
      closed = true;
    },
  };
}

/** Addresses as all programs of the host find them, with /etc/hosts; the rest from its DNS servers. */
async function lookUp(name: string, type: RecordType): Promise<DnsRecord[]> {
  switch (type) {
    case 'A':
    case 'AAAA': {
      // Both families, for a name that has only the other one is not a name that does not exist.
      const found = await dns.lookup(name, { all: true });
      return found.filter(({ family }) => family === (type === 'A' ? 4 : 6)).map(({ address }) => ({ type, address }));
    }
    case 'PTR':
      return (await dns.resolvePtr(name)).map(found => ({ type, name: found }));
    case 'CNAME':
      return (await dns.resolveCname(name)).map(found => ({ type, name: found }));
    case 'NS':
      return (await dns.resolveNs(name)).map(found => ({ type, name: found }));
    case 'MX':
      return (await dns.resolveMx(name)).map(({ priority, exchange }) => ({
        type,
        preference: priority,
        name: exchange,
      }));
    case 'TXT':
      return (await dns.resolveTxt(name)).map(texts => ({
        type,
        texts: texts.map(text => Buffer.from(text, 'latin1')),
      }));
    case 'SRV':
      return (await dns.resolveSrv(name)).map(({ priority, weight, port, name: found }) => {
        return { type, priority, weight, port, name: found };
      });
  }
}

function failedLookup(error: unknown): DnsAnswer {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOTFOUND') return 'no-name';
  return code === 'ENODATA' ? [] : 'failed';
}
