/** The network protocol's numbers and layouts (public/io/netif.h); the same for 32-bit and 64-bit front ends. */

/** Of a request to transmit: gref u32, offset u16, flags u16, id u16, size u16. Its response: id u16, status s16. */
export const TX_SLOT = 12;
export const TX_SLOTS = 256;
/** Of a request to receive: id u16, padding, gref u32. Its response: id u16, offset u16, flags u16, status s16. */
export const RX_SLOT = 8;
export const RX_SLOTS = 256;

/** Flags of requests to transmit and of responses to those to receive: the same bits but for the first two. */
export const NETTXF_CSUM_BLANK = 1;
export const NETTXF_MORE_DATA = 4;
export const NETTXF_EXTRA_INFO = 8;
export const NETRXF_DATA_VALIDATED = 1;
export const NETRXF_CSUM_BLANK = 2;
export const NETRXF_MORE_DATA = 4;
export const NETRXF_EXTRA_INFO = 8;

export const NETIF_RSP_OKAY = 0;
export const NETIF_RSP_ERROR = -1;
/** Of a slot that held no request. */
export const NETIF_RSP_NULL = 1;

/** An extra info: type u8, flags u8; of GSO then size u16, type u8, padding, features u16. */
export const XEN_NETIF_EXTRA_TYPE_GSO = 1;
export const XEN_NETIF_EXTRA_FLAG_MORE = 1;
export const XEN_NETIF_GSO_TYPE_TCPV4 = 1;
export const XEN_NETIF_GSO_TYPE_TCPV6 = 2;

/** Slots of a packet at most, extras not counted (XEN_NETIF_NR_SLOTS_MIN is what both sides must take). */
export const MOST_SLOTS = 18;
export const MOST_EXTRAS = 4;
