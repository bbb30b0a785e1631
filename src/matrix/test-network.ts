/**
 * What the built-in test finds behind its gateway: an echo over TCP, a file by TFTP (RFC 1350), and one name. All of it is in this
 * process and runs on the guest's time, so that runs repeat.
 */
import type { HostSockets, TcpHandler, TcpSocket, UdpHandler, UdpSocket } from '../host/sockets.ts';

const ECHO_PORT = 7;
const TFTP_PORT = 69;
/** The only name, and its address, which is for documentation (RFC 5737). */
export const NAME = 'matrix.test';
export const NAME_ADDRESS = '192.0.2.7';

/** The file: the line again and again, in so many blocks, each of which is a datagram there and one back. */
export const FILE_LINE = 'a file that comes in a thousand datagrams';
const BLOCKS = 500;
const BLOCK = 512;
/** The last block is not full, which ends the file. */
export const FILE_SIZE = BLOCKS * BLOCK - 100;
/** What the guest sends to the echo, in bytes. */
export const ECHO_SIZE = 1 << 20;

/** TFTP's operations. */
const READ = 1;
const DATA = 3;
const ACKNOWLEDGE = 4;
const ERROR = 5;

const file = (): Uint8Array =>
  new TextEncoder().encode(`${FILE_LINE}\n`.repeat(FILE_SIZE / FILE_LINE.length)).subarray(0, FILE_SIZE);

export function testSockets(): HostSockets {
  const early: (() => void)[] = [];
  let attached: ((work: () => void) => void) | undefined;
  const later = (work: () => void) => (attached ? attached(work) : void early.push(work));
  const nobody = () => Promise.reject(new Error('nobody listens here'));
  return {
    isLocal: true,
    attach(given) {
      attached = given;
      for (const work of early.splice(0)) given(work);
    },
    connectTcp(_address, port, handler) {
      if (port === ECHO_PORT) return echo(handler, later);
      later(() => handler.closed('refused'));
      return { pending: 0, write() {}, end() {}, pause() {}, resume() {}, reset() {} };
    },
    openUdp: (_version, handler) => tftp(handler, later),
    resolve: (name, type, answer) =>
      later(() => answer(name === NAME ? (type === 'A' ? [{ type, address: NAME_ADDRESS }] : []) : 'no-name')),
    listenTcp: nobody,
    listenUdp: nobody,
  };
}

/** Sends back what comes, however long nobody takes it. */
function echo(handler: TcpHandler, later: (work: () => void) => void): TcpSocket {
  const pieces: Uint8Array[] = [];
  const state = { paused: false, ending: false, over: false };
  const pump = () => {
    while (!state.paused && !state.over && pieces.length > 0) handler.data(pieces.shift()!);
    if (!state.ending || state.over || pieces.length > 0) return;
    state.over = true;
    handler.ended();
    handler.closed();
  };
  later(() => handler.connected?.());
  return {
    pending: 0,
    write(bytes) {
      pieces.push(bytes);
      later(pump);
    },
    end() {
      state.ending = true;
      later(pump);
    },
    pause: () => void (state.paused = true),
    resume() {
      state.paused = false;
      later(pump);
    },
    reset: () => void (state.over = true),
  };
}

/** A server of one file. It answers what it is sent and repeats nothing by itself: that is the client's part. */
function tftp(handler: UdpHandler, later: (work: () => void) => void): UdpSocket {
  const content = file();
  const block = (number: number): Uint8Array => {
    const data = content.subarray((number - 1) * BLOCK, number * BLOCK);
    return Uint8Array.of(0, DATA, number >> 8, number & 255, ...data);
  };
  return {
    send(bytes, address, port) {
      if (port !== TFTP_PORT || bytes.length < 4) return;
      const [operation, number] = [(bytes[0] << 8) | bytes[1], (bytes[2] << 8) | bytes[3]];
      const answer =
        operation === READ
          ? block(1)
          : operation === ACKNOWLEDGE
            ? number < BLOCKS
              ? block(number + 1)
              : undefined
            : Uint8Array.of(0, ERROR, 0, 4, 0);
      if (answer) later(() => handler.message(answer, address, port));
    },
    close() {},
  };
}
