/** Packets of vsock: `struct virtio_vsock_hdr` (Virtual I/O Device specification 1.2, 5.10.6), and data behind it. */

export const VSOCK_HEADER = 44;
/** Data in one packet, at most (Linux: VIRTIO_VSOCK_MAX_PKT_BUF_SIZE). */
export const VSOCK_MOST_DATA = 65536;

/** The host's context identifier. */
export const VMADDR_CID_HOST = 2;

const VIRTIO_VSOCK_TYPE_STREAM = 1;

export const VIRTIO_VSOCK_OP_REQUEST = 1;
export const VIRTIO_VSOCK_OP_RESPONSE = 2;
export const VIRTIO_VSOCK_OP_RST = 3;
export const VIRTIO_VSOCK_OP_SHUTDOWN = 4;
export const VIRTIO_VSOCK_OP_RW = 5;
export const VIRTIO_VSOCK_OP_CREDIT_UPDATE = 6;
export const VIRTIO_VSOCK_OP_CREDIT_REQUEST = 7;

/** Flags of VIRTIO_VSOCK_OP_SHUTDOWN: whoever sends it receives nothing more, sends nothing more. */
export const VIRTIO_VSOCK_SHUTDOWN_RCV = 1;
export const VIRTIO_VSOCK_SHUTDOWN_SEND = 2;

export interface VsockPacket {
  /** Context identifiers: those above 2^53 lose their lowest bits, and are nobody's. */
  readonly sourceCid: number;
  readonly destinationCid: number;
  readonly source: number;
  readonly destination: number;
  readonly operation: number;
  readonly flags: number;
  /** Room for data that the sender has, and bytes of it that it has dealt with: both u32, the second one overflows. */
  readonly room: number;
  readonly dealt: number;
  readonly data: Uint8Array;
}

/** @returns undefined for what is no packet of a stream */
export function parseVsockPacket(bytes: Uint8Array): VsockPacket | undefined {
  if (bytes.length < VSOCK_HEADER) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(24, true);
  if (view.getUint16(28, true) !== VIRTIO_VSOCK_TYPE_STREAM || VSOCK_HEADER + length > bytes.length) return undefined;
  return {
    sourceCid: Number(view.getBigUint64(0, true)),
    destinationCid: Number(view.getBigUint64(8, true)),
    source: view.getUint32(16, true),
    destination: view.getUint32(20, true),
    operation: view.getUint16(30, true),
    flags: view.getUint32(32, true),
    room: view.getUint32(36, true),
    dealt: view.getUint32(40, true),
    data: bytes.subarray(VSOCK_HEADER, VSOCK_HEADER + length),
  };
}

export function vsockPacket({ data, ...packet }: VsockPacket): Uint8Array {
  const bytes = new Uint8Array(VSOCK_HEADER + data.length);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(packet.sourceCid), true);
  view.setBigUint64(8, BigInt(packet.destinationCid), true);
  view.setUint32(16, packet.source, true);
  view.setUint32(20, packet.destination, true);
  view.setUint32(24, data.length, true);
  view.setUint16(28, VIRTIO_VSOCK_TYPE_STREAM, true);
  view.setUint16(30, packet.operation, true);
  view.setUint32(32, packet.flags, true);
  view.setUint32(36, packet.room, true);
  view.setUint32(40, packet.dealt, true);
  bytes.set(data, VSOCK_HEADER);
  return bytes;
}

/** What is answered where nobody has the port, or the connection. */
export function vsockReset({ sourceCid, destinationCid, source, destination }: VsockPacket): Uint8Array {
  return vsockPacket({
    ...{ sourceCid: destinationCid, destinationCid: sourceCid, source: destination, destination: source },
    ...{ operation: VIRTIO_VSOCK_OP_RST, flags: 0, room: 0, dealt: 0, data: new Uint8Array(0) },
  });
}
