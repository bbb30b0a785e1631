/**
 * A switch between the machines of one user's processes, by its name: a UNIX socket in a folder of the user's own. Whoever comes first is
 * the switch; when that process ends, one of the others takes its place. Frames go as they are, each behind its length (u32, little-endian).
 */
import { lstatSync, mkdirSync, rmSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { createSwitch } from '../../net/switch.ts';
import type { Network, NetworkPort } from '../network.ts';

const HEADER = 4;
const LARGEST_FRAME = 1514;
/** Bytes on their way to a process that does not read: what comes then is lost. */
const WAITING_BYTES = 2 ** 22;
/** Milliseconds until somebody is asked again. */
const RETRY = 50;
const MOST_TRIES = 100;

/**
 * @param bus that the card is on; see `Network`
 * @throws Error with what is wrong with the folder, or if neither joining nor opening the switch works
 */
export async function joinSwitch(name: string, bus?: string): Promise<Network> {
  const path = join(folder(), name);
  let taker: NetworkPort | undefined;
  let over = false;
  /** Where the guest's frames go; nowhere while nobody is the switch. */
  let send = (_frame: Uint8Array) => {};
  let leave = () => {};

  const attach = (socket: Socket) => {
    send = frame => post(socket, frame);
    leave = () => void socket.destroy();
    readFrames(socket, frame => taker?.receive(frame));
    socket.on('error', () => {});
    socket.on('close', () => {
      send = () => {};
      if (!over) void enter().catch(() => {});
    });
  };
  const serve = (server: Server, accept: { take: (socket: Socket) => void }) => {
    const hub = createSwitch();
    accept.take = socket => {
      const port = hub.plug(frame => post(socket, frame));
      readFrames(socket, frame => port.send(frame));
      socket.on('error', () => {});
      socket.on('close', () => port.remove());
    };
    const own = hub.plug(frame => taker?.receive(frame.slice()));
    send = frame => own.send(frame);
    leave = () => void server.close();
  };
  /** Joins those who are there, or becomes the one whom others join. */
  const enter = async (): Promise<void> => {
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      const socket = await connected(path);
      if (socket) return attach(socket);
      const accept = { take: (_socket: Socket) => {} };
      const server = await listening(path, accept);
      if (server) return serve(server, accept);
      await new Promise(resolve => setTimeout(resolve, RETRY));
    }
    throw new Error(`switch ${name}: nobody answers at ${path}, and it cannot be opened`);
  };
  await enter();
  return {
    name: `switch-${name}`,
    bus,
    connect: port => void (taker = port),
    send: frame => send(frame),
    close() {
      over = true;
      leave();
    },
  };
}

/** The user's own, which nobody else can write to. */
function folder(): string {
  const { uid } = userInfo();
  const path = join(process.env.XDG_RUNTIME_DIR ?? tmpdir(), `polyvisor-switches-${uid}`);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const { mode, uid: owner } = lstatSync(path);
  if ((mode & 0o170777) !== 0o040700 || owner !== uid)
    throw new Error(`${path}: is not a folder of your own that nobody else can use: remove it`);
  return path;
}

/** @returns undefined where nobody listens; what a process that is gone has left behind is removed then */
function connected(path: string): Promise<Socket | undefined> {
  return new Promise(resolve => {
    const socket = createConnection(path);
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      resolve(socket);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') rmSync(path, { force: true });
      resolve(undefined);
    });
  });
}

/** @returns undefined where somebody else was faster */
function listening(path: string, accept: { take: (socket: Socket) => void }): Promise<Server | undefined> {
  return new Promise(resolve => {
    const server = createServer(socket => accept.take(socket));
    server.once('error', () => resolve(undefined));
    server.listen(path, () => {
      server.removeAllListeners('error');
      server.on('error', () => {});
      resolve(server);
    });
  });
}

function post(socket: Socket, frame: Uint8Array): void {
  if (socket.destroyed || frame.length > LARGEST_FRAME || socket.writableLength > WAITING_BYTES) return;
  const bytes = Buffer.alloc(HEADER + frame.length);
  bytes.writeUInt32LE(frame.length);
  bytes.set(frame, HEADER);
  socket.write(bytes);
}

/** Whoever sends what is no frame is cut off. */
function readFrames(socket: Socket, take: (frame: Uint8Array) => void): void {
  let rest = Buffer.alloc(0);
  socket.on('data', piece => {
    rest = rest.length > 0 ? Buffer.concat([rest, piece]) : piece;
    let at = 0;
    while (rest.length - at >= HEADER) {
      const length = rest.readUInt32LE(at);
      if (length > LARGEST_FRAME) return void socket.destroy();
      if (rest.length - at < HEADER + length) break;
      take(Uint8Array.from(rest.subarray(at + HEADER, at + HEADER + length)));
      at += HEADER + length;
    }
    rest = rest.subarray(at);
  });
}
