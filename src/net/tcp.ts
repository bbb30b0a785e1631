/**
 * One TCP connection with the guest (RFC 9293), of which we are the other end. It knows neither addresses nor sockets: `TcpWire`
 * carries its segments, `TcpUser` is whom it serves. Between guest and network nothing gets lost but what the guest has no
 * room for, so that congestion control (RFC 5681, NewReno) is there for that alone; there is no SACK.
 */
import { Gaps, SendBuffer } from './send-buffer.ts';
import { ACK, FIN, PSH, RST, type Segment, SYN } from './tcp-segment.ts';

const MILLISECOND = 1e6;
const SECOND = 1e9;
/** Retransmission time-outs (RFC 6298), in nanoseconds. */
const FIRST_TIMEOUT = SECOND;
const LEAST_TIMEOUT = 200 * MILLISECOND;
const MOST_TIMEOUT = 30 * SECOND;
/** The clock's granularity, as RFC 6298 has it. */
const GRANULARITY = 10 * MILLISECOND;
/** Time-outs in a row after which the guest is taken for gone. */
const MOST_RETRIES = 8;
/** How long a connection that is closed still answers; a guest asks again within that time if it has missed our last word. */
const TIME_WAIT = 2 * SECOND;
/** Acknowledgments of the same byte that say that what comes next was lost (RFC 5681, 3.2). */
const DUPLICATES = 3;
/** The most that a segment for the guest carries: an IP packet has at most 65535 bytes. */
const MOST_PAYLOAD = 65535 - 100;
/** What the guest may send before it is acknowledged, in bytes. */
export const RECEIVE_WINDOW = 1 << 20;
/** Our window is told in units of 2^7 bytes. */
const SCALE = 7;
/**
 * How long an acknowledgment of data may wait (RFC 9293, 3.8.6.3), in nanoseconds. A guest that writes little at a time and always
 * has its answer at once sends each piece by itself (RFC 9293, 3.7.4): a frame, an answer and two interrupts for every one of them.
 */
export const ACKNOWLEDGMENT_DELAY = MILLISECOND;
/** The most bytes that wait for an acknowledgment, however many the guest sends without one. */
const MOST_OWED = 1 << 16;
/** Segments that may be under way at first. */
const FIRST_WINDOW = 44;
const DEFAULT_MSS = 536;
const LEAST_MSS = 64;

export type Closed = 'done' | 'reset' | 'timeout';

export interface TcpWire {
  now(): number;
  send(segment: Omit<Segment, 'payload'> & { payload: readonly Uint8Array[] }, cut: number): void;
  /** `tick` is to be called at `time`, or earlier. */
  schedule(time: number): void;
  /** A number that nobody guesses, for the first sequence number. */
  random(): number;
}

export interface TcpUser {
  established(): void;
  /** In order, each byte once. The array is the callee's to keep. */
  data(bytes: Uint8Array): void;
  /** The guest sends nothing more. */
  ended(): void;
  /** There is more room in the send buffer. */
  acknowledged(): void;
  /** Bytes taken that are not on their way yet: the guest gets so much less room. */
  readonly pending: number;
  /** The last call. */
  closed(why: Closed): void;
}

export class TcpConnection {
  readonly #wire: TcpWire;
  readonly #user: TcpUser;
  readonly #mss: number;
  #state: 'new' | 'syn-sent' | 'syn-received' | 'open' | 'time-wait' | 'closed' = 'new';

  // ---- What we send. Sequence numbers are signed 32-bit numbers -------------------------------
  #first = 0;
  /** The oldest that is not acknowledged, the next to send, and the furthest ever sent. */
  #unacknowledged = 0;
  #next = 0;
  #furthest = 0;
  readonly #buffer = new SendBuffer();
  #finWanted = false;
  #finAcknowledged = false;
  /** The guest's window, in bytes, and when it was told. */
  #window = 0;
  #windowSequence = 0;
  #windowAcknowledgment = 0;
  #windowScale = 0;
  #guestMss = DEFAULT_MSS;
  #congestion = 0;
  #threshold = RECEIVE_WINDOW;
  #duplicates = 0;
  /** While lost segments are sent again: where that ends. */
  #recover: number | undefined;
  #timeout = FIRST_TIMEOUT;
  #smoothed: number | undefined;
  #variation = 0;
  /** A segment whose round trip is being measured. */
  #timed: { sequence: number; at: number } | undefined;
  #retries = 0;
  /** When to send again, or to leave TIME-WAIT. */
  #deadline: number | undefined;

  // ---- What we receive -------------------------------------------------------------------------
  #expected = 0;
  /** The right edge of the window as the guest was last told. */
  #edge = 0;
  #scale = 0;
  readonly #gaps = new Gaps();
  /** Where the guest's FIN stands, once it has been seen. */
  #fin: number | undefined;
  #finReceived = false;
  /** An acknowledgment is due now. */
  #acknowledge = false;
  /** Bytes that the guest has not been told of, and the time by which it is. */
  #owed = 0;
  #owedUntil: number | undefined;
  /** As many are told of at once: more and more, as long as the guest goes on without. */
  #stride = 2 * DEFAULT_MSS;

  /** When the guest last sent something. */
  lastHeard: number;

  /** @param mss the largest payload of a frame to the guest */
  constructor(wire: TcpWire, user: TcpUser, mss: number) {
    this.#wire = wire;
    this.#user = user;
    this.#mss = mss;
    this.lastHeard = wire.now();
  }

  /** Bytes handed to `write` that the guest has not acknowledged. */
  get unsent(): number {
    return this.#buffer.length;
  }

  /** Both ends have said their last; it may be that the guest has not heard it. */
  get over(): boolean {
    return this.#state === 'closed' || this.#state === 'time-wait';
  }

  /** Asks the guest for a connection. */
  open(): void {
    this.#begin();
    this.#state = 'syn-sent';
    this.#sendSyn();
  }

  /** Takes the guest's SYN. */
  accept(syn: Segment): void {
    this.#begin();
    this.#takeSyn(syn);
    this.#state = 'syn-received';
    this.#sendSyn();
  }

  /** The array is ours to keep. */
  write(bytes: Uint8Array): void {
    if (this.#finWanted || this.#state === 'closed') return;
    this.#buffer.put(bytes);
    this.#output();
  }

  /** Nothing more will be written. */
  end(): void {
    if (this.#finWanted) return;
    this.#finWanted = true;
    this.#output();
  }

  /** Ends it at once. */
  reset(): void {
    if (this.#state === 'closed') return;
    if (this.#state !== 'new' && this.#state !== 'time-wait') this.#send(this.#next, RST | ACK, []);
    this.#close('reset');
  }

  /** The user's `pending` has gone down: the guest is told when that makes a difference. */
  drained(): void {
    if (this.#state !== 'open' || this.#finReceived) return;
    const room = this.#room() - ((this.#edge - this.#expected) | 0);
    // At once: a frame wakes a guest that sleeps, a timer that is set from outside does not.
    if (room >= Math.min(RECEIVE_WINDOW / 2, 4 * this.#mss)) this.#sendAcknowledgment();
  }

  /** A segment of this connection's. */
  receive(segment: Segment): void {
    this.lastHeard = this.#wire.now();
    if (this.#state === 'closed' || this.#state === 'new') return;
    if (this.#state === 'syn-sent') return this.#receiveSynAnswer(segment);
    const { flags, sequence, payload } = segment;
    if (flags & SYN) {
      // The SYN again: our answer was lost. Any other is answered as RFC 5961 has it.
      if (this.#state === 'syn-received' && sequence === ((this.#expected - 1) | 0)) this.#sendSyn();
      else this.#soon();
      return;
    }
    const length = payload.length + (flags & FIN ? 1 : 0);
    const window = Math.max((this.#edge - this.#expected) | 0, 0);
    const ahead = (sequence - this.#expected) | 0;
    if (flags & RST) {
      if (ahead === 0) this.#close('reset');
      else if (ahead > 0 && ahead < window) this.#soon();
      return;
    }
    // Outside of the window, or old: the guest is told where we are. A probe of a closed window is one of these.
    if (ahead > window || ahead + length < 0 || (length > 0 && ahead + length === 0)) return this.#soon();
    if (!(flags & ACK)) return;
    if (!this.#takeAcknowledgment(segment)) return;
    if (this.#isClosed()) return;
    if (payload.length > 0) this.#takePayload(sequence, payload);
    if (flags & FIN) {
      this.#fin = (sequence + payload.length) | 0;
      this.#soon();
    }
    this.#takeFin();
    this.#output();
  }

  /** Time has passed: does what is due. */
  tick(): void {
    if (this.#isClosed()) return;
    const now = this.#wire.now();
    if (this.#owedUntil !== undefined && now >= this.#owedUntil) {
      // It may be that the guest waits, and sends no more the next time.
      this.#stride = Math.max(this.#owed, this.#leastStride());
      this.#acknowledge = true;
    }
    if (this.#acknowledge) this.#sendAcknowledgment();
    if (this.#deadline === undefined || now < this.#deadline) return;
    this.#deadline = undefined;
    if (this.#state === 'time-wait') return this.#close('done');
    if (this.#next === this.#unacknowledged && this.#buffer.length === 0) return;
    if (this.#retries++ === MOST_RETRIES) {
      this.#send(this.#next, RST | ACK, []);
      return this.#close('timeout');
    }
    this.#timeout = Math.min(2 * this.#timeout, MOST_TIMEOUT);
    this.#timed = undefined;
    if (this.#state === 'syn-sent' || this.#state === 'syn-received') return this.#sendSyn();
    if (this.#window === 0) return this.#probe();
    // All that is under way counts as lost (RFC 5681, 3.1).
    this.#threshold = Math.max((this.#next - this.#unacknowledged) / 2, 2 * this.#size());
    this.#congestion = this.#size();
    this.#recover = undefined;
    this.#duplicates = 0;
    this.#next = this.#unacknowledged;
    this.#output();
    this.#arm();
  }

  /** When `tick` is to be called, 0 for at once; undefined if nothing is due. */
  get due(): number | undefined {
    if (this.#acknowledge) return 0;
    if (this.#owedUntil === undefined || this.#deadline === undefined) return this.#owedUntil ?? this.#deadline;
    return Math.min(this.#owedUntil, this.#deadline);
  }

  // ---- The beginning ---------------------------------------------------------------------------

  #begin(): void {
    this.#first = this.#wire.random() | 0;
    this.#unacknowledged = this.#next = this.#furthest = this.#first;
  }

  #takeSyn({ sequence, mss, scale, window }: Segment): void {
    this.#expected = (sequence + 1) | 0;
    this.#guestMss = Math.max(mss ?? DEFAULT_MSS, LEAST_MSS);
    this.#windowScale = scale ?? 0;
    // Both scale, or neither does (RFC 7323, 2.2).
    this.#scale = scale === undefined ? 0 : SCALE;
    this.#window = window;
    this.#congestion = FIRST_WINDOW * this.#size();
    this.#stride = this.#leastStride();
    this.#edge = (this.#expected + Math.min(this.#room(), 0xffff)) | 0;
  }

  #sendSyn(): void {
    const passive = this.#state === 'syn-received';
    this.#next = (this.#first + 1) | 0;
    this.#furthest = this.#next;
    this.#wire.send(
      {
        sequence: this.#first,
        acknowledgment: passive ? this.#expected : 0,
        flags: passive ? SYN | ACK : SYN,
        window: Math.min(this.#room(), 0xffff),
        mss: this.#mss,
        scale: passive && this.#scale === 0 ? undefined : SCALE,
        payload: [],
      },
      this.#mss,
    );
    this.#arm();
  }

  #receiveSynAnswer(segment: Segment): void {
    const { flags, acknowledgment } = segment;
    if (!(flags & ACK) || acknowledgment !== this.#next) {
      if (flags & ACK && !(flags & RST)) this.#send(acknowledgment, RST, []);
      return;
    }
    if (flags & RST) return this.#close('reset');
    if (!(flags & SYN)) return;
    this.#takeSyn(segment);
    this.#acknowledged();
    this.#unacknowledged = acknowledgment;
    this.#windowSequence = segment.sequence;
    this.#windowAcknowledgment = acknowledgment;
    this.#state = 'open';
    this.#soon();
    this.#user.established();
    this.#output();
  }

  // ---- What the guest has received -------------------------------------------------------------

  /** @returns false if the segment is not to be looked at any further */
  #takeAcknowledgment(segment: Segment): boolean {
    const { acknowledgment, sequence, payload } = segment;
    const advance = (acknowledgment - this.#unacknowledged) | 0;
    if (((acknowledgment - this.#furthest) | 0) > 0) {
      this.#soon();
      return false;
    }
    if (this.#state === 'syn-received') {
      if (advance < 1) return false;
      this.#state = 'open';
      this.#unacknowledged = (this.#first + 1) | 0;
      this.#acknowledged();
      this.#takeWindow(segment);
      this.#user.established();
      return true;
    }
    const windowBefore = this.#window;
    if (advance >= 0) this.#takeWindow(segment);
    if (advance > 0) this.#advance(acknowledgment, advance);
    else if (
      advance === 0 &&
      payload.length === 0 &&
      !(segment.flags & FIN) &&
      this.#next !== this.#unacknowledged &&
      windowBefore === this.#window &&
      sequence === this.#expected
    )
      this.#duplicate();
    return true;
  }

  #takeWindow({ sequence, acknowledgment, window }: Segment): void {
    const newer = (sequence - this.#windowSequence) | 0;
    if (newer < 0 || (newer === 0 && ((acknowledgment - this.#windowAcknowledgment) | 0) < 0)) return;
    this.#windowSequence = sequence;
    this.#windowAcknowledgment = acknowledgment;
    this.#window = window * 2 ** this.#windowScale;
  }

  #advance(acknowledgment: number, advance: number): void {
    // The FIN takes a sequence number behind the last byte.
    const bytes = Math.min(advance, this.#buffer.length);
    this.#buffer.drop(bytes);
    if (advance > bytes) this.#finAcknowledged = true;
    this.#unacknowledged = acknowledgment;
    if (((this.#next - acknowledgment) | 0) < 0) this.#next = acknowledgment;
    if (this.#timed && ((acknowledgment - this.#timed.sequence) | 0) >= 0)
      this.#measure(this.#wire.now() - this.#timed.at);
    this.#acknowledged();
    this.#duplicates = 0;
    const size = this.#size();
    if (this.#recover !== undefined) {
      if (((acknowledgment - this.#recover) | 0) >= 0) {
        this.#recover = undefined;
        this.#congestion = this.#threshold;
      } else this.#sendAgain(); // What comes next was lost, too (RFC 6582).
    } else if (this.#congestion < this.#threshold) this.#congestion += Math.min(bytes, 64 * size);
    else this.#congestion += Math.max(1, Math.floor((size * size) / this.#congestion));
    this.#congestion = Math.min(this.#congestion, 4 * RECEIVE_WINDOW);
    if (this.#finAcknowledged && this.#finReceived) return this.#wait();
    if (bytes > 0) this.#user.acknowledged();
  }

  /** Something was acknowledged: the time-out counts from now. */
  #acknowledged(): void {
    this.#retries = 0;
    this.#timeout =
      this.#smoothed === undefined
        ? FIRST_TIMEOUT
        : clamp(this.#smoothed + Math.max(GRANULARITY, 4 * this.#variation), LEAST_TIMEOUT, MOST_TIMEOUT);
    this.#deadline = undefined;
  }

  #measure(trip: number): void {
    this.#timed = undefined;
    if (this.#smoothed === undefined) {
      this.#smoothed = trip;
      this.#variation = trip / 2;
    } else {
      this.#variation += (Math.abs(this.#smoothed - trip) - this.#variation) / 4;
      this.#smoothed += (trip - this.#smoothed) / 8;
    }
  }

  #duplicate(): void {
    this.#duplicates++;
    if (this.#recover !== undefined) this.#congestion += this.#size();
    else if (this.#duplicates === DUPLICATES) {
      this.#threshold = Math.max(((this.#next - this.#unacknowledged) | 0) / 2, 2 * this.#size());
      this.#congestion = this.#threshold + DUPLICATES * this.#size();
      this.#recover = this.#furthest;
      this.#timed = undefined;
      this.#sendAgain();
    }
  }

  /** The first segment that is not acknowledged. */
  #sendAgain(): void {
    const count = Math.min(this.#size(), this.#buffer.length);
    if (count > 0) this.#send(this.#unacknowledged, ACK | PSH, this.#buffer.part(0, count));
    else if (this.#finSent()) this.#send(this.#unacknowledged, FIN | ACK, []);
    this.#arm();
  }

  // ---- What we have received -------------------------------------------------------------------

  #takePayload(sequence: number, payload: Uint8Array): void {
    const behind = (this.#expected - sequence) | 0;
    const room = (this.#edge - sequence) | 0;
    const bytes = payload.subarray(Math.max(behind, 0), Math.max(room, 0));
    // What is not simply next is told at once: the guest may have to send something again (RFC 5681, 4.2).
    if (this.#finReceived || bytes.length === 0 || behind !== 0 || !this.#gaps.empty) this.#soon();
    if (this.#finReceived || bytes.length === 0) return;
    if (behind < 0) return this.#gaps.put(sequence, bytes);
    this.#deliver(bytes);
    this.#owe(bytes.length);
    while (!this.#gaps.empty) {
      const more = this.#gaps.take(this.#expected);
      if (!more) break;
      this.#deliver(more);
    }
  }

  #deliver(bytes: Uint8Array): void {
    this.#expected = (this.#expected + bytes.length) | 0;
    this.#user.data(bytes);
  }

  #takeFin(): void {
    if (this.#fin === undefined || this.#finReceived || this.#fin !== this.#expected || this.#isClosed()) return;
    this.#finReceived = true;
    this.#expected = (this.#expected + 1) | 0;
    this.#edge = (this.#edge + 1) | 0;
    this.#soon();
    this.#user.ended();
    if (this.#finAcknowledged) this.#wait();
  }

  /** Room for bytes from the guest. */
  #room(): number {
    return Math.max(RECEIVE_WINDOW - this.#user.pending, 0);
  }

  #leastStride(): number {
    return 2 * this.#size();
  }

  /** So many bytes have come in order. */
  #owe(count: number): void {
    if (this.#acknowledge) return;
    this.#owed += count;
    if (this.#owed >= this.#stride) {
      this.#stride = Math.min(2 * this.#stride, MOST_OWED);
      this.#soon();
    } else if (this.#owedUntil === undefined) {
      this.#owedUntil = this.#wire.now() + ACKNOWLEDGMENT_DELAY;
      this.#wire.schedule(this.#owedUntil);
    }
  }

  /** An acknowledgment is due; those of all that arrives now are one. */
  #soon(): void {
    if (this.#acknowledge) return;
    this.#acknowledge = true;
    this.#wire.schedule(this.#wire.now());
  }

  #sendAcknowledgment(): void {
    // Not what is sent again next: the guest may have that already, and looks at nothing old.
    this.#send(this.#furthest, ACK, []);
  }

  // ---- Sending ---------------------------------------------------------------------------------

  #size(): number {
    return Math.min(this.#mss, this.#guestMss);
  }

  #finSent(): boolean {
    return this.#finWanted && ((this.#furthest - this.#unacknowledged) | 0) > this.#buffer.length;
  }

  /** Sends what the guest's window and the network's allow. */
  #output(): void {
    if (this.#state !== 'open') return;
    const size = this.#size();
    const allowed = Math.min(this.#window, this.#congestion);
    for (;;) {
      const flying = (this.#next - this.#unacknowledged) | 0;
      const waiting = this.#buffer.length - flying;
      let count = Math.min(waiting, allowed - flying, MOST_PAYLOAD);
      // Whole segments, unless it is the last of all.
      if (count > size && count < waiting) count -= count % size;
      // No piece of a segment while there is more on its way (RFC 9293, 3.8.6.2.1).
      if (count <= 0 || (count < size && count < waiting && flying > 0)) break;
      // What is sent again tells nothing of the round trip: which of the two was answered? (RFC 6298, 3)
      if (this.#next === this.#furthest) this.#timed ??= { sequence: (this.#next + count) | 0, at: this.#wire.now() };
      const last = count === waiting;
      const fin = last && this.#finWanted;
      this.#send(this.#next, ACK | (last ? PSH : 0) | (fin ? FIN : 0), this.#buffer.part(flying, count));
      this.#moveOn(count + (fin ? 1 : 0));
    }
    const flying = (this.#next - this.#unacknowledged) | 0;
    if (this.#finWanted && !this.#finAcknowledged && flying === this.#buffer.length) {
      this.#send(this.#next, FIN | ACK, []);
      this.#moveOn(1);
    }
    if (this.#deadline === undefined && (this.#next !== this.#unacknowledged || this.#buffer.length > 0)) this.#arm();
  }

  #moveOn(count: number): void {
    this.#next = (this.#next + count) | 0;
    if (((this.#next - this.#furthest) | 0) > 0) this.#furthest = this.#next;
  }

  /** The guest has no room: a byte asks whether it has by now (RFC 9293, 3.8.6.1). */
  #probe(): void {
    this.#retries = Math.min(this.#retries, 1); // A guest that answers may keep its window closed for as long as it likes.
    if (this.#buffer.length > 0) {
      this.#send(this.#unacknowledged, ACK, this.#buffer.part(0, 1));
      // It may be taken, or not: what is sent next begins with it either way.
      if (this.#furthest === this.#unacknowledged) this.#furthest = (this.#furthest + 1) | 0;
    } else if (this.#finSent()) this.#send(this.#unacknowledged, FIN | ACK, []);
    this.#arm();
  }

  #arm(): void {
    this.#deadline = this.#wire.now() + this.#timeout;
    this.#wire.schedule(this.#deadline);
  }

  #send(sequence: number, flags: number, payload: readonly Uint8Array[]): void {
    this.#acknowledge = false;
    this.#owed = 0;
    this.#owedUntil = undefined;
    const window = this.#room() >>> this.#scale;
    const told = Math.min(window, 0xffff) * 2 ** this.#scale;
    if (((this.#expected + told - this.#edge) | 0) > 0) this.#edge = (this.#expected + told) | 0;
    this.#wire.send(
      { sequence, acknowledgment: this.#expected, flags, window: Math.min(window, 0xffff), payload },
      this.#size(),
    );
  }

  // ---- The end ---------------------------------------------------------------------------------

  #wait(): void {
    if (this.#state === 'time-wait') return;
    if (this.#acknowledge) this.#sendAcknowledgment();
    this.#state = 'time-wait';
    this.#deadline = this.#wire.now() + TIME_WAIT;
    this.#wire.schedule(this.#deadline);
  }

  #close(why: Closed): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#deadline = this.#owedUntil = undefined;
    this.#acknowledge = false;
    this.#buffer.clear();
    this.#user.closed(why);
  }

  #isClosed(): boolean {
    return this.#state === 'closed';
  }
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(Math.max(value, least), most);
}
