/** Pages and page-table entries (SDM 3A 4.2-4.5). */
export const PAGE_SHIFT = 12;
export const PAGE_SIZE = 1 << PAGE_SHIFT;
export const PAGE_OFFSET = PAGE_SIZE - 1;

/** Bits of an entry's low half, in every paging mode. */
export const PTE_P = 1 << 0;
export const PTE_RW = 1 << 1;
export const PTE_US = 1 << 2;
export const PTE_PWT = 1 << 3;
export const PTE_PCD = 1 << 4;
export const PTE_A = 1 << 5;
export const PTE_D = 1 << 6;
/** Maps a large page: not in the lowest level, where the bit is PAT. */
export const PTE_PS = 1 << 7;
export const PTE_G = 1 << 8;
/** Execute-disable (EFER.NXE). */
export const PTE_XD = 1n << 63n;
