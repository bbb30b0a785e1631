/**
 * The host's end of a vsock: connections between programs of the guest and programs of the host, with the credit by which each end says
 * how much it can take (Virtual I/O Device specification 1.2, 5.10.6). Linux's vhost_vsock and virtio_transport_common.c are the model.
 */
import type { Log } from '../host/log.ts';
import type { SocketError, TcpHandler, TcpSocket } from '../host/sockets.ts';
import type { Vsock, VsockPrograms } from '../host/vsock.ts';
import { VsockCredit } from './vsock-credit.ts';
import {
  parseVsockPacket,
  VIRTIO_VSOCK_OP_CREDIT_REQUEST,
  VIRTIO_VSOCK_OP_CREDIT_UPDATE,
  VIRTIO_VSOCK_OP_REQUEST,
  VIRTIO_VSOCK_OP_RESPONSE,
  VIRTIO_VSOCK_OP_RST,
  VIRTIO_VSOCK_OP_RW,
  VIRTIO_VSOCK_OP_SHUTDOWN,
  VIRTIO_VSOCK_SHUTDOWN_RCV,
  VIRTIO_VSOCK_SHUTDOWN_SEND,
  VMADDR_CID_HOST,
  VSOCK_MOST_DATA,
  type VsockPacket,
  vsockPacket,
  vsockReset,
} from './vsock-packet.ts';

/** Connections at a time: each takes a file descriptor of the host's. */
const MOST_CONNECTIONS = 128;
/** Bytes that we take of the guest before we have dealt with them. */
const ROOM = 1 << 18;
/** Bytes on their way to the guest, whatever it says that it can take: all connections' together must fit the machine's input. */
const MOST_AHEAD = 1 << 16;
/** Bytes for the guest beyond which the program's socket is not read, and below which it is read again. */
const HIGH_WATER = 1 << 18;
const LOW_WATER = 1 << 17;
/** Bytes for a program that does not read them, beyond which the guest gets no more credit. */
const MOST_PENDING = 1 << 18;
/** The first port of connections that the host begins. */
const FIRST_PORT = 0x40000000;
/** Ends' identifiers: smaller ones are reserved, and the largest means any. */
const FIRST_CID = 3;
const LAST_CID = 2 ** 32 - 2;

const BOTH = VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND;
const NOTHING = new Uint8Array(0);

/** @throws RangeError for a context identifier that is no guest's */
export function hostVsock(programs: VsockPrograms, { cid = FIRST_CID, name = 'vsock' } = {}): Vsock {
  if (!Number.isInteger(cid) || cid < FIRST_CID || cid > LAST_CID)
    throw new RangeError(`cid ${cid}: a guest's is from ${FIRST_CID} to ${LAST_CID}`);
  let post: ((packet: Uint8Array) => void) | undefined;
  const end = new HostEnd(programs, cid, packet => post?.(packet));
  return {
    name,
    cid,
    connect({ receive, log }) {
      post = receive;
      end.log = log;
    },
    send: bytes => end.receive(bytes),
    close: () => end.close(),
  };
}

/** All connections of one guest. */
class HostEnd {
  readonly #programs: VsockPrograms;
  readonly #cid: number;
  readonly #post: (packet: Uint8Array) => void;
  readonly #connections = new Map<string, Connection>();
  #begun = 0;
  /** The machine's, once there is one. */
  log: Log | undefined;

  constructor(programs: VsockPrograms, cid: number, post: (packet: Uint8Array) => void) {
    this.#programs = programs;
    this.#cid = cid;
    this.#post = post;
    programs.attach((port, socket, connected) => this.#begin(port, socket, connected));
  }

  close(): void {
    this.#programs.close();
    for (const connection of [...this.#connections.values()]) connection.abandon();
  }

  receive(bytes: Uint8Array): void {
    const packet = parseVsockPacket(bytes);
    if (!packet || packet.sourceCid !== this.#cid) return;
    const { operation, source, destination, destinationCid } = packet;
    const found = this.#connections.get(keyOf(source, destination));
    const isNew = operation === VIRTIO_VSOCK_OP_REQUEST && !found && destinationCid === VMADDR_CID_HOST;
    if (isNew) return this.#add(source, destination).open(packet, this.#programs);
    if (found && destinationCid === VMADDR_CID_HOST) return found.receive(packet);
    // Nobody has that port, or that connection.
    if (operation !== VIRTIO_VSOCK_OP_RST && Number.isSafeInteger(destinationCid)) this.#post(vsockReset(packet));
  }

  #begin(port: number, socket: TcpSocket, connected: (port: number) => void): TcpHandler {
    let own: number;
    do {
      own = FIRST_PORT + (this.#begun++ % FIRST_PORT);
    } while (this.#connections.has(keyOf(port, own)));
    const connection = this.#add(port, own);
    const handler = connection.begin(socket, () => connected(own));
    // There is no machine yet that could be asked.
    if (!this.log) connection.abandon();
    return handler;
  }

  #add(guest: number, own: number): Connection {
    if (this.#connections.size >= MOST_CONNECTIONS) {
      this.log?.once('vsock-full', `vsock: more than ${MOST_CONNECTIONS} connections at once: the oldest are reset`);
      const [oldest] = this.#connections.values();
      oldest!.abandon();
    }
    const key = keyOf(guest, own);
    const ends = { sourceCid: VMADDR_CID_HOST, destinationCid: this.#cid, source: own, destination: guest };
    const connection = new Connection(
      packet => this.#post(vsockPacket({ ...ends, flags: 0, data: NOTHING, ...packet })),
      () => {
        if (this.#connections.get(key) === connection) this.#connections.delete(key);
      },
    );
    this.#connections.set(key, connection);
    return connection;
  }
}

const keyOf = (guest: number, own: number) => `${guest}:${own}`;

/** What a packet of a connection has besides its ends. */
type Content = Pick<VsockPacket, 'operation' | 'room' | 'dealt'> & Partial<Pick<VsockPacket, 'flags' | 'data'>>;

class Connection {
  readonly #post: (content: Content) => void;
  readonly #forget: () => void;
  #socket: TcpSocket | undefined;
  /** Told when the guest has accepted what the host has begun. */
  #connected: (() => void) | undefined;
  #open = false;
  #paused = false;
  /** What waits for the guest's credit, and how much it is. */
  readonly #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  readonly #credit = new VsockCredit(ROOM);
  /** The program sends nothing more; what the guest has been told of that. */
  #ended = false;
  #shut = 0;
  /** What the guest has said that it does no more. */
  #guestShut = 0;

  constructor(post: (content: Content) => void, forget: () => void) {
    this.#post = post;
    this.#forget = forget;
  }

  /** The guest wants a connection: it gets an answer when there is a program. */
  open(packet: VsockPacket, programs: VsockPrograms): void {
    this.#credit.note(packet);
    this.#socket = programs.open(packet.destination, this.#programSide());
  }

  /** A program wants one with the guest. */
  begin(socket: TcpSocket, connected: () => void): TcpHandler {
    this.#socket = socket;
    this.#connected = connected;
    socket.pause();
    this.#paused = true;
    this.#say(VIRTIO_VSOCK_OP_REQUEST);
    return this.#programSide();
  }

  /** Both ends see a reset. */
  abandon(): void {
    this.#say(VIRTIO_VSOCK_OP_RST);
    this.#over();
  }

  /** Without a word to the guest. */
  #over(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    this.#forget();
    socket?.reset();
  }

  #say(operation: number, content: Partial<Content> = {}): void {
    this.#post({ operation, ...this.#credit.tell(this.#held), ...content });
  }

  /** Bytes received that wait for a program which does not read: all that have come of late. */
  get #held(): number {
    return (this.#socket?.pending ?? 0) > MOST_PENDING ? this.#credit.untold : 0;
  }

  receive(packet: VsockPacket): void {
    const { operation, flags, data } = packet;
    if (operation === VIRTIO_VSOCK_OP_RST) return this.#over();
    this.#credit.note(packet);
    if (!this.#open) {
      if (operation !== VIRTIO_VSOCK_OP_RESPONSE || !this.#connected) return this.abandon();
      this.#open = true;
      this.#connected();
      this.#resume();
    } else if (operation === VIRTIO_VSOCK_OP_RW) {
      // More than it has credit for: a driver that does not keep to it is cut off.
      if (!this.#credit.receive(data.length)) return this.abandon();
      if (data.length > 0) this.#socket?.write(data.slice());
      this.#tell();
    } else if (operation === VIRTIO_VSOCK_OP_SHUTDOWN) {
      this.#guestShut |= flags & BOTH;
      if (this.#guestShut === BOTH) return this.#finish();
      if (this.#guestShut & VIRTIO_VSOCK_SHUTDOWN_SEND) this.#socket?.end();
    } else if (operation === VIRTIO_VSOCK_OP_CREDIT_REQUEST) this.#say(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    else if (operation !== VIRTIO_VSOCK_OP_CREDIT_UPDATE) return this.abandon();
    this.#flush();
  }

  /** The guest has closed its end: what it has sent arrives, and it is told that it is forgotten. */
  #finish(): void {
    this.#say(VIRTIO_VSOCK_OP_RST);
    const socket = this.#socket;
    this.#socket = undefined;
    this.#forget();
    socket?.end();
    socket?.resume();
  }

  /** The guest learns that there is room again, when it is worth a packet. */
  #tell(): void {
    if (this.#credit.isDue(this.#held)) this.#say(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
  }

  /** Sends what the guest has credit for. */
  #flush(): void {
    while (this.#open && this.#waiting.length > 0) {
      const [first] = this.#waiting;
      const data = first!.subarray(0, Math.min(this.#credit.available(MOST_AHEAD), VSOCK_MOST_DATA));
      if (data.length === 0) break;
      if (data.length === first!.length) this.#waiting.shift();
      else this.#waiting[0] = first!.subarray(data.length);
      this.#waitingBytes -= data.length;
      this.#credit.send(data.length);
      this.#say(VIRTIO_VSOCK_OP_RW, { data });
    }
    if (this.#paused && this.#open && this.#waitingBytes < LOW_WATER) this.#resume();
    if (this.#open && this.#ended && this.#waitingBytes === 0) this.#shutDown(VIRTIO_VSOCK_SHUTDOWN_SEND);
  }

  #shutDown(what: number): void {
    if ((this.#shut | what) === this.#shut) return;
    this.#shut |= what;
    this.#say(VIRTIO_VSOCK_OP_SHUTDOWN, { flags: this.#shut });
  }

  #resume(): void {
    this.#paused = false;
    this.#socket?.resume();
  }

  /** What becomes of that which the program does. */
  #programSide(): TcpHandler {
    return {
      connected: () => {
        if (this.#open || !this.#socket) return;
        this.#open = true;
        this.#say(VIRTIO_VSOCK_OP_RESPONSE);
        this.#flush();
      },
      data: bytes => {
        if (!this.#socket || this.#guestShut & VIRTIO_VSOCK_SHUTDOWN_RCV) return;
        this.#waiting.push(bytes);
        this.#waitingBytes += bytes.length;
        this.#flush();
        if (this.#paused || this.#waitingBytes < HIGH_WATER) return;
        this.#paused = true;
        this.#socket.pause();
      },
      ended: () => {
        this.#ended = true;
        this.#flush();
      },
      drained: () => {
        if (this.#socket && this.#open) this.#tell();
      },
      closed: error => this.#closed(error),
    };
  }

  /** The program's socket is no more. */
  #closed(error: SocketError | undefined): void {
    if (!this.#socket) return;
    this.#socket = undefined;
    if (error || !this.#open) return this.abandon();
    // The guest answers with a reset when its program has read everything.
    this.#ended = true;
    this.#flush();
    if (this.#waitingBytes === 0) this.#shutDown(BOTH);
  }
}
