/**
 * A network as devices see it: Ethernet frames out of the guest, and into it. Frames have no preamble and no checksum.
 */
export interface Network {
  readonly name: string;
  /** As a disk's: the bus with the device that it is behind. */
  readonly bus?: string | undefined;
  /** The guest sends `frame`. The array is the callee's to keep. */
  send(frame: Uint8Array): void;
  /**
   * The device hands in the function that takes frames for the guest; a frame that comes before is lost, as on a wire.
   */
  onFrame(take: (frame: Uint8Array) => void): void;
}
