/** Messages to a guest (TLFS 11.8), as data: what waits for a slot is part of the machine's state. */

/** A message in its slot: type, size and flags of the payload, who sent it, and up to 240 bytes of payload. */
export const MESSAGE_SIZE = 256;
export const PAYLOAD_SIZE = 240;
const SIZE = 4;
export const FLAGS = 5;
const PAYLOAD = 16;
export const HVMSG_NONE = 0;
/** Flag: more messages wait, so the guest is to write EOM when it has emptied the slot. */
export const MESSAGE_PENDING = 1;

export const HVMSG_TIMER_EXPIRED = 0x80000010;
/** HV_TIMER_MESSAGE_PAYLOAD: TimerIndex, reserved, ExpirationTime, DeliveryTime. */
const TIMER_PAYLOAD_SIZE = 24;
const EXPIRATION_TIME = 8;
const DELIVERY_TIME = 16;

export interface Message {
  type: number;
  payload: Uint8Array;
  /** The synthetic timer that sent it; undefined: no timer did. */
  timer: number | undefined;
}

/** A timer's message. Its DeliveryTime is known, and written, when it gets its slot. */
export function timerMessage(timer: number, expiration: bigint): Message {
  const payload = new Uint8Array(TIMER_PAYLOAD_SIZE);
  const view = new DataView(payload.buffer);
  view.setUint32(0, timer, true);
  view.setBigUint64(EXPIRATION_TIME, expiration, true);
  return { type: HVMSG_TIMER_EXPIRED, payload, timer };
}

/**
 * A slot's content but for the type, which is written last: a guest that polls takes the type for the sign that all is
 * there.
 */
export function slotOf({ payload, timer }: Message, deliveryTime: bigint, moreWait: boolean): Uint8Array {
  const slot = new Uint8Array(MESSAGE_SIZE);
  slot.set(payload, PAYLOAD);
  slot[SIZE] = payload.length;
  slot[FLAGS] = moreWait ? MESSAGE_PENDING : 0;
  if (timer !== undefined) new DataView(slot.buffer).setBigUint64(PAYLOAD + DELIVERY_TIME, deliveryTime, true);
  return slot;
}
