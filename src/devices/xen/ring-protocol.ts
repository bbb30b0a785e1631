/** A ring of requests and responses (public/io/ring.h): indices of u32 each, and where the slots begin. */
export const REQ_PROD = 0;
export const REQ_EVENT = 4;
export const RSP_PROD = 8;
export const RSP_EVENT = 12;
export const RING_HEADER = 64;
