/** A logical block, in bytes: the only size that our disks have. */
export const SECTOR_SIZE = 512;
