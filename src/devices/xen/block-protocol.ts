/**
 * The block protocol's numbers and layouts (public/io/blkif.h). A 32-bit front end says `x86_32-abi`: its u64 fields
 * need only 4-byte alignment, so all that follows the first word of a request stands 4 bytes earlier.
 */
export const BLKIF_OP_READ = 0;
export const BLKIF_OP_WRITE = 1;
export const BLKIF_OP_WRITE_BARRIER = 2;
export const BLKIF_OP_FLUSH_DISKCACHE = 3;
export const BLKIF_OP_DISCARD = 5;
export const BLKIF_OP_INDIRECT = 6;

export const BLKIF_RSP_OKAY = 0;
export const BLKIF_RSP_ERROR = -1;
export const BLKIF_RSP_EOPNOTSUPP = -2;

export const BLKIF_MAX_SEGMENTS_PER_REQUEST = 11;
/** Segments of an indirect request at most: 1 MiB. */
export const MAX_INDIRECT_SEGMENTS = 256;
/** Segment descriptors in a page of them. */
export const SEGMENTS_PER_INDIRECT_PAGE = 512;
/** Ring pages at most, as an order of two. */
export const MAX_RING_PAGE_ORDER = 4;
export const BLKIF_DISCARD_SECURE = 1;

export const SECTOR_SIZE = 512;
export const SECTORS_PER_PAGE = 8;

/** Offsets in a slot. */
export interface BlockLayout {
  /** Bytes of a slot: the larger of request and response. */
  slot: number;
  id: number;
  sector: number;
  segments: number;
  /** Of a discard request. */
  sectors: number;
  /** Of an indirect request. */
  indirectGrefs: number;
}

export const layout64: BlockLayout = { slot: 112, id: 8, sector: 16, segments: 24, sectors: 24, indirectGrefs: 28 };
export const layout32: BlockLayout = { slot: 108, id: 4, sector: 12, segments: 20, sectors: 20, indirectGrefs: 24 };

/**
 * The `protocol` nodes that the back end understands. The guest chooses the string: it must not be the key of an
 * object.
 */
export const protocols: ReadonlyMap<string, BlockLayout> = new Map([
  ['x86_64-abi', layout64],
  ['x86_32-abi', layout32],
]);
/** What a front end means that writes no `protocol` node: our own width. */
export const DEFAULT_PROTOCOL = 'x86_64-abi';

/** Bytes of a segment descriptor: gref u32, first_sect u8, last_sect u8, padding. */
export const SEGMENT_SIZE = 8;
