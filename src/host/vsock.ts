/**
 * AF_VSOCK, by which programs of a guest and of its host talk without a network. A machine's device passes packets
 * (`struct virtio_vsock_hdr` and what follows it, net/vsock-packet.ts) to a `Vsock`; `hostVsock` (net/vsock.ts) makes connections of
 * them, and has `VsockPrograms` of the host's behind them.
 */
import type { Network } from './network.ts';
import type { TcpHandler, TcpSocket } from './sockets.ts';

/** The other end of a guest's vsock device: a network whose frames are packets, and on which the guest has an address. */
export interface Vsock extends Network {
  /** The guest's context identifier: from 3 to 2^32 - 2. The host's is 2. */
  readonly cid: number;
}

/** The programs of the host at their ends of connections, which behave as TCP's do. Nothing here throws for what goes wrong outside. */
export interface VsockPrograms {
  /** The guest connects to port `port` of the host's. */
  open(port: number, handler: TcpHandler): TcpSocket;
  /**
   * Called once: `accept` is to be called for a program that connects to port `port` of the guest's. It calls `connected` when the
   * guest has accepted, with the port of the host's that the connection has; before that the socket is not to send.
   */
  attach(accept: (port: number, socket: TcpSocket, connected: (port: number) => void) => TcpHandler): void;
  close(): void;
}
