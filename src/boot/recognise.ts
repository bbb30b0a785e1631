/** Naming a file that is not a kernel for x86, so that the message says what was handed in instead of what it is not. */

/** Magic numbers: where, what bytes, and what it is with what to do about it. */
const KINDS: readonly [offset: number, magic: string, what: string][] = [
  [0x38, 'ARMd', 'a 64-bit ARM kernel, not one for x86; use an amd64 or i386 kernel'],
  [0x24, '\x18\x28\x6f\x01', 'a 32-bit ARM kernel, not one for x86; use an amd64 or i386 kernel'],
  [0x38, 'RSC\x05', 'a RISC-V kernel, not one for x86; use an amd64 or i386 kernel'],
  [0x30, 'RISCV', 'a RISC-V kernel, not one for x86; use an amd64 or i386 kernel'],
  [0, '\x27\x05\x19\x56', 'a U-Boot image; use the vmlinuz it was made from'],
  [0, '\xd0\x0d\xfe\xed', 'a device tree; name a kernel (vmlinuz)'],
  [0, '070701', 'a cpio archive, so perhaps the initrd; name it with --initrd and the kernel (vmlinuz) with --kernel'],
  [0, '!<arch>\ndebian-binary', 'a Debian package; unpack it (dpkg-deb -x) and name the vmlinuz in its boot folder'],
  [0, '\xff\xd8\xff', 'a JPEG picture; name a kernel (vmlinuz)'],
  [0, '\x89PNG', 'a PNG picture; name a kernel (vmlinuz)'],
  [0, 'GIF8', 'a GIF picture; name a kernel (vmlinuz)'],
  [0, '%PDF', 'a PDF document; name a kernel (vmlinuz)'],
  [0, 'PK\x03\x04', 'a ZIP archive; name a kernel (vmlinuz)'],
  [0, '7z\xbc\xaf', 'a 7z archive; name a kernel (vmlinuz)'],
  [0, 'QFI\xfb', 'a qcow2 disk image; disks go to --disk, the kernel (vmlinuz) to --kernel'],
  [0x8001, 'CD001', 'a CD image; disks go to --disk, the kernel (vmlinuz) to --kernel'],
  [0x101, 'ustar', 'a tar archive; name a kernel (vmlinuz)'],
  [0, '\0asm', 'a WebAssembly module; name a kernel (vmlinuz)'],
  [0, '\xcf\xfa\xed\xfe', 'a macOS program; name a Linux kernel (vmlinuz)'],
  [0, '#!', 'a script; name a kernel (vmlinuz)'],
  [0, 'MZ', 'a Windows or EFI program without a Linux boot header; name a kernel (vmlinuz)'],
  [0x1fe, '\x55\xaa', 'a boot sector or disk image; disks go to --disk, the kernel (vmlinuz) to --kernel'],
];

/** What the bytes are, in a few words, and what to do. */
export function recognise(bytes: Uint8Array): string {
  if (bytes.length === 0) return 'an empty file; fetch it again';
  for (const [offset, magic, what] of KINDS) {
    const found = [...magic].every((character, index) => bytes[offset + index] === character.charCodeAt(0));
    if (found) return what;
  }
  const start = bytes.subarray(0, 512);
  if (start.every(byte => (byte >= 0x20 && byte < 0x7f) || (byte >= 0x09 && byte <= 0x0d)))
    return 'a text file; name a kernel (vmlinuz)';
  return 'neither a bzImage (vmlinuz) nor an ELF kernel (vmlinux) for x86';
}
