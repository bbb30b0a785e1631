/**
 * The credit of one end of a vsock connection: what it may send, and what it lets the other end send (Virtual I/O Device
 * specification 1.2, 5.10.6.3). Counters of bytes are u32 and overflow, as in packets.
 */
import type { VsockPacket } from './vsock-packet.ts';

export class VsockCredit {
  /** Bytes that we take before we have dealt with them. */
  readonly #room: number;
  /** Bytes sent; the room that the other end has, and what it has dealt with. */
  #sent = 0;
  #theirRoom = 0;
  #theirDealt = 0;
  /** Bytes received, and how many of them the other end knows that we have dealt with. */
  #received = 0;
  #told = 0;

  constructor(room: number) {
    this.#room = room;
  }

  /** What the other end says with each packet. */
  note({ room, dealt }: Pick<VsockPacket, 'room' | 'dealt'>): void {
    this.#theirRoom = room;
    this.#theirDealt = dealt;
  }

  /** Bytes that may be sent. @param most on their way at once, whatever the other end has room for */
  available(most: number): number {
    return Math.max(0, Math.min(this.#theirRoom, most) - ((this.#sent - this.#theirDealt) >>> 0));
  }

  send(bytes: number): void {
    this.#sent = (this.#sent + bytes) >>> 0;
  }

  /** @returns false if the other end had no credit for so much */
  receive(bytes: number): boolean {
    if (this.untold + bytes > this.#room) return false;
    this.#received = (this.#received + bytes) >>> 0;
    return true;
  }

  /** Bytes received that the other end does not know to be dealt with. */
  get untold(): number {
    return (this.#received - this.#told) >>> 0;
  }

  /** True if it is worth a packet to tell of what has been dealt with. @param held bytes received that have not been */
  isDue(held: number): boolean {
    return this.untold - held >= this.#room / 4;
  }

  /** What the next packet says. @param held bytes received that have not been dealt with */
  tell(held: number): Pick<VsockPacket, 'room' | 'dealt'> {
    this.#told = (this.#received - Math.min(held, this.untold)) >>> 0;
    return { room: this.#room, dealt: this.#told };
  }
}
