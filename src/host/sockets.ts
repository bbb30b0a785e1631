/**
 * The host's sockets, as far as the user-mode network needs them. Nothing here may throw for what goes wrong outside: that
 * comes through the handlers, later, never from within the call that caused it.
 */

/** Why the host could not. `other` is whatever has no meaning to a guest. */
export type SocketError = 'refused' | 'unreachable' | 'timeout' | 'reset' | 'denied' | 'in-use' | 'other';

/** What happens to a TCP connection. `closed` comes once and last. */
export interface TcpHandler {
  connected?(): void;
  /** The array is the callee's to keep. */
  data(bytes: Uint8Array): void;
  /** The peer sends nothing more; it may still read. */
  ended(): void;
  /** What was written has left this process: `pending` has gone down. */
  drained(): void;
  closed(error?: SocketError): void;
}

export interface TcpSocket {
  /** The array is the callee's to keep, and stays as it is. */
  write(bytes: Uint8Array): void;
  /** Bytes written that are still in this process. */
  readonly pending: number;
  /** Nothing more will be written: the peer sees an end. */
  end(): void;
  /** Stops and starts `data`. */
  pause(): void;
  resume(): void;
  /** Ends it at once; the peer sees a reset, where the host can do that. */
  reset(): void;
}

export interface UdpSocket {
  send(bytes: Uint8Array, address: string, port: number): void;
  close(): void;
}

export interface UdpHandler {
  message(bytes: Uint8Array, address: string, port: number): void;
  /** A datagram could not be sent, or the socket is of no use. */
  failed(error: SocketError): void;
}

/** A socket that others connect or send to. */
export interface Listener {
  /** The port that it has, also where 0 was asked for. */
  readonly port: number;
  close(): void;
}

/** The port asked for cannot be had. */
export class ListenError extends Error {
  override name = 'ListenError';
  readonly error: SocketError;

  constructor(message: string, error: SocketError) {
    super(message);
    this.error = error;
  }
}

/** The kinds of DNS records that can be asked for. */
export type RecordType = 'A' | 'AAAA' | 'PTR' | 'CNAME' | 'NS' | 'MX' | 'TXT' | 'SRV';

/** A record's data. */
export type DnsRecord =
  | { type: 'A' | 'AAAA'; address: string }
  | { type: 'PTR' | 'CNAME' | 'NS'; name: string }
  | { type: 'MX'; preference: number; name: string }
  | { type: 'TXT'; texts: readonly Uint8Array[] }
  | { type: 'SRV'; priority: number; weight: number; port: number; name: string };

/** `no-name`: there is no such name. A name without records of the type has an empty list. */
export type DnsAnswer = readonly DnsRecord[] | 'no-name' | 'failed';

export interface HostSockets {
  connectTcp(address: string, port: number, handler: TcpHandler): TcpSocket;
  openUdp(version: 4 | 6, handler: UdpHandler): UdpSocket;
  /** @throws ListenError, later */
  listenTcp(address: string, port: number, accept: (socket: TcpSocket) => TcpHandler): Promise<Listener>;
  /** @throws ListenError, later */
  listenUdp(address: string, port: number, handler: UdpHandler): Promise<Listener & UdpSocket>;
  /** What the host's resolver says, its /etc/hosts included. */
  resolve(name: string, type: RecordType, answer: (answer: DnsAnswer) => void): void;
  /** True if all that answers is in this process, and runs by `later` alone: guests that talk to it can be run again alike. */
  readonly isLocal?: boolean;
  /** Called once, with a way to do something later: at a boundary of the guest's, on its time. */
  attach?(later: (work: () => void) => void): void;
}
