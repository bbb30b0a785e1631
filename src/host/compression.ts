/**
 * Compression in zlib's format (RFC 1950), whose checksum tells damaged bytes. A host may have it faster than `fflate`
 * is (`portable-compression.ts`).
 */
export interface Compression {
  deflate(bytes: Uint8Array): Promise<Uint8Array>;
  /**
   * @param length of what comes out
   * @throws Error if `bytes` are damaged, or something of another length comes out
   */
  inflate(bytes: Uint8Array, length: number): Promise<Uint8Array>;
}

/** None, for what is read more often than its size matters, and is checked by others. */
export const noCompression: Compression = {
  deflate: async bytes => bytes,
  async inflate(bytes, length) {
    if (bytes.length !== length) throw new Error(`${bytes.length} bytes instead of ${length}`);
    return bytes;
  },
};
