/** What VMXNET3's drivers and devices share (Linux drivers/net/vmxnet3/vmxnet3_defs.h), revision 1. Numbers are little endian. */

/** BAR 0, registers of queues and interrupts, 8 bytes apart. */
export const IMR = 0x000;
export const TXPROD = 0x600;
export const RXPROD = 0x800;
export const RXPROD2 = 0xa00;

/** BAR 1, registers of the device. */
export const VRRS = 0x00;
export const UVRS = 0x08;
export const DSAL = 0x10;
export const DSAH = 0x18;
export const CMD = 0x20;
export const MACL = 0x28;
export const MACH = 0x30;
export const ICR = 0x38;
export const ECR = 0x40;
/** The only revision, as VRRS and UVRS have it: a bit each. */
export const REVISION_1 = 1;

/** Commands; what is not here changes nothing, and answers 0. */
export const ACTIVATE = 0xcafe0000;
export const QUIESCE = 0xcafe0001;
export const RESET = 0xcafe0002;
export const GET_STATS = 0xf00d0001;
export const GET_LINK = 0xf00d0002;
export const GET_PERM_MAC_LO = 0xf00d0003;
export const GET_PERM_MAC_HI = 0xf00d0004;

export const MOST_QUEUES = 8;
export const INTERRUPTS = 25;

/** `struct Vmxnet3_DriverShared`. */
export const SHARED_BYTES = 720;
export const MAGIC = 0xbabefee1;
export const FEATURES = 24;
export const FEATURE_LRO = 8;
export const QUEUES = 40;
export const TX_QUEUES = 62;
export const RX_QUEUES = 63;
export const AUTO_MASK = 80;
export const INTERRUPT_CONTROL = 108;
export const DISABLE_ALL = 1;
export const EVENTS = 696;

/** `struct Vmxnet3_TxQueueDesc` and `Vmxnet3_RxQueueDesc`: the former all stand before the latter. */
export const QUEUE_BYTES = 256;
export const QUEUE_STATISTICS = 88;
export const TX = { ring: 16, completions: 32, ringSize: 56, completionSize: 64, interrupt: 72 };
export const RX = {
  ...{
    notify: 0,
    ring: 16,
    ring2: 24,
    completions: 32,
    ringSize: 56,
    ring2Size: 60,
    completionSize: 64,
    interrupt: 72,
  },
};
export const MOST_ENTRIES = 4096;

/** Descriptors and completions are of the same size; in each a bit says in which round through the ring it was written. */
export const ENTRY = 16;
export const LENGTH_MASK = 0x3fff;
/** Third word of a transmit descriptor, fourth of it. */
export const TX_GENERATION = 14;
export const TX_MSS_OR_OFFSET = 18;
export const TX_HEADER_MASK = 0x3ff;
export const TX_OFFLOAD = 10;
export const OFFLOAD_CHECKSUM = 2;
export const OFFLOAD_SEGMENTS = 3;
export const TX_END = 1 << 12;
export const TX_COMPLETE = 1 << 13;
/** Third word of a receive descriptor. */
export const RX_GENERATION = 31;
export const RX_BODY = 1 << 14;
/** Fourth word of completions. */
export const COMPLETION_GENERATION = 31;
export const COMPLETION_RECEIVED = 3 << 24;
/** First word of a received completion. */
export const COMPLETION_END = 1 << 14;
export const COMPLETION_START = 1 << 15;
export const COMPLETION_QUEUE = 16;
export const CHECKSUM_NOT_CALCULATED = 1 << 30;
/** Fourth word of it. */
export const CHECKSUM_RIGHT = 1 << 16;
export const IS_UDP = 1 << 17;
export const IS_TCP = 1 << 18;
export const IP_CHECKSUM_RIGHT = 1 << 19;
export const IS_V6 = 1 << 20;
export const IS_V4 = 1 << 21;
export const FRAME_RIGHT = 1 << 23;
