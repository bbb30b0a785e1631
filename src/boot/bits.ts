/** Whether a kernel's file is a 32-bit one's, from its header alone. */

const ELFCLASS32 = 1;
const HEADER_MAGIC = 0x53726448; // "HdrS"
/** From this version of the boot protocol on, xloadflags says so (Documentation/arch/x86/boot.rst). */
const WITH_XLOADFLAGS = 0x20c;
const XLF_KERNEL_64 = 1;

/** False, too, for what does not say. */
export function is32Bit(kernel: Uint8Array): boolean {
  const view = new DataView(kernel.buffer, kernel.byteOffset, kernel.byteLength);
  if (kernel.length < 0x238) return false;
  if (view.getUint32(0, false) === 0x7f454c46) return kernel[4] === ELFCLASS32;
  if (view.getUint32(0x202, true) !== HEADER_MAGIC || view.getUint16(0x206, true) < WITH_XLOADFLAGS) return false;
  return (view.getUint16(0x236, true) & XLF_KERNEL_64) === 0;
}
