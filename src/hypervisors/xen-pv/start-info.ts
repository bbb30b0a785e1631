/** struct start_info (public/xen.h): what a PV kernel finds at the address in RSI. */
import type { GuestMemory } from '../../memory/memory.ts';

/** Its flags: mod_start is a page frame number. */
export const SIF_MOD_START_PFN = 8;
const MAGIC = 'xen-3.0-x86_64';
const MAX_COMMAND_LINE = 1024;

export interface StartInfo {
  nrPages: number;
  /** Machine address. */
  sharedInfo: number;
  flags: number;
  /** Frames and event ports of the two rings. */
  storeFrame: number;
  storePort: number;
  consoleFrame: number;
  consolePort: number;
  /** Guest-virtual address of the L4 table, and how many tables follow it, itself included. */
  ptBase: bigint;
  nrPtFrames: number;
  /** Guest-virtual address of the list of frames. */
  mfnList: bigint;
  /** Guest-virtual address or, by the flag, page frame number. */
  modStart: bigint;
  modLength: number;
  commandLine: string;
  firstP2mPfn: number;
  nrP2mFrames: number;
}

/** Writes the structure at guest-physical `address`, in a page that is all zeros. */
export function writeStartInfo(memory: GuestMemory, address: number, info: StartInfo): void {
  const encoder = new TextEncoder();
  memory.copyIn(address, encoder.encode(MAGIC));
  memory.write64(address + 0x20, BigInt(info.nrPages));
  memory.write64(address + 0x28, BigInt(info.sharedInfo));
  memory.write32(address + 0x30, info.flags);
  memory.write64(address + 0x38, BigInt(info.storeFrame));
  memory.write32(address + 0x40, info.storePort);
  memory.write64(address + 0x48, BigInt(info.consoleFrame));
  memory.write32(address + 0x50, info.consolePort);
  memory.write64(address + 0x58, info.ptBase);
  memory.write64(address + 0x60, BigInt(info.nrPtFrames));
  memory.write64(address + 0x68, info.mfnList);
  memory.write64(address + 0x70, info.modStart);
  memory.write64(address + 0x78, BigInt(info.modLength));
  memory.copyIn(address + 0x80, encoder.encode(info.commandLine).subarray(0, MAX_COMMAND_LINE - 1));
  memory.write64(address + 0x480, BigInt(info.firstP2mPfn));
  memory.write64(address + 0x488, BigInt(info.nrP2mFrames));
}
