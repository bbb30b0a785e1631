/** What an 82540EM makes of its transmit descriptors: pieces of frames, and what is left undone in them. */
import type { Network } from '../../host/network.ts';
import { fold, sum } from '../../net/checksum.ts';
import { completeHeaders, sendTo } from '../../net/offload.ts';
import { ETHERNET_HEADER, setWord } from '../../net/packet.ts';
import * as at from './layout.ts';

const MTU_FRAME = 1514;
/** An IP packet of 65535 bytes, and Ethernet's header. */
const LARGEST_FRAME = 65535 + ETHERNET_HEADER;

export const initialTransmit = () => ({
  /** The frame, as far as it has come. Too much of it is dropped, as its end is. */
  frame: new Uint8Array(0),
  length: 0,
  /** The latest context descriptor: where checksums begin and stand, the segments' size. */
  context: { ipStart: 0, ipAt: 0, start: 0, at: 0, segment: 0 },
  /** Of the frame's first descriptor: checksums that are left undone, and that it stands for several. */
  options: 0,
  large: false,
  /** Of an older descriptor that leaves a checksum undone: where it begins, and stands; 0 and 0 for none. */
  legacyStart: 0,
  legacyAt: 0,
});

export type Transmit = ReturnType<typeof initialTransmit>;

/** A context descriptor of the newer kind. */
export function takeContext(state: Transmit, view: DataView): void {
  state.context = {
    ipStart: view.getUint8(0),
    ipAt: view.getUint8(1),
    start: view.getUint8(4),
    at: view.getUint8(5),
    segment: view.getUint16(14, true),
  };
}

/** A piece of a frame. @param options of the newer kind; undefined for the older one */
export function takePiece(state: Transmit, piece: Uint8Array, command: number, options: number | undefined): void {
  if (state.length === 0) {
    state.options = options ?? 0;
    state.large = options !== undefined && (command & at.TX_TSE) !== 0;
  }
  const length = state.length + piece.length;
  if (length <= LARGEST_FRAME) {
    if (length > state.frame.length) {
      const larger = new Uint8Array(Math.min(2 * length, LARGEST_FRAME));
      larger.set(state.frame.subarray(0, state.length));
      state.frame = larger;
    }
    state.frame.set(piece, state.length);
  }
  state.length = Math.min(length, LARGEST_FRAME + 1);
}

/** The frame is complete. What makes no sense is lost, as a frame that a wire has garbled. */
export function sendFrame(state: Transmit, network: Network): void {
  const { length, context, options, large, legacyStart, legacyAt } = state;
  const frame = state.frame.slice(0, length);
  Object.assign(state, { length: 0, legacyStart: 0, legacyAt: 0 });
  if (length < ETHERNET_HEADER || length > LARGEST_FRAME) return;
  const { start, at: place } = context;
  if (large) {
    if (context.segment === 0 || place !== start + 16 || !completeHeaders(frame, start)) return;
    return sendTo(network, frame, { start, at: place, segment: context.segment });
  }
  if (length > MTU_FRAME) return;
  if (options & at.POPTS_IXSM && context.ipAt + 2 <= start && start <= length && context.ipStart < context.ipAt) {
    setWord(frame, context.ipAt, 0);
    setWord(frame, context.ipAt, ~fold(sum(frame, context.ipStart, start)) & 0xffff);
  }
  const offload =
    options & at.POPTS_TXSM
      ? { start, at: place, segment: 0 }
      : legacyAt !== 0
        ? { start: legacyStart, at: legacyAt, segment: 0 }
        : undefined;
  if (offload && (offload.start < ETHERNET_HEADER || offload.at < offload.start || offload.at + 2 > length)) return;
  sendTo(network, frame, offload);
}
