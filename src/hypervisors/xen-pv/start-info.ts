/** struct start_info (public/xen.h): what a PV kernel finds at the address in RSI or ESI. */
import type { GuestMemory } from '../../memory/memory.ts';
import { structure } from '../xen/structures.ts';
import type { PvAbi } from './abi.ts';

/** Its flags: mod_start is a page frame number. */
export const SIF_MOD_START_PFN = 8;
/** Bytes of the magic word, which comes first, and of the command line. */
const MAGIC_SIZE = 32;
const MAX_COMMAND_LINE = 1024;

/** What comes between the two, and after them. */
const start_info = structure({
  nr_pages: 'ulong',
  shared_info: 'ulong',
  flags: 'u32',
  store_mfn: 'ulong',
  store_evtchn: 'u32',
  console_mfn: 'ulong',
  console_evtchn: 'u32',
  pt_base: 'ulong',
  nr_pt_frames: 'ulong',
  mfn_list: 'ulong',
  mod_start: 'ulong',
  mod_len: 'ulong',
});
const start_info_end = structure({ first_p2m_pfn: 'ulong', nr_p2m_frames: 'ulong' });

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
  /** Guest-virtual address of the root, and how many tables follow it, itself included. */
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
export function writeStartInfo(memory: GuestMemory, address: number, abi: PvAbi, info: StartInfo): void {
  const encoder = new TextEncoder();
  const layout = start_info[abi.width];
  const end = start_info_end[abi.width];
  const bytes = new Uint8Array(MAGIC_SIZE + layout.size + MAX_COMMAND_LINE + end.size);
  bytes.set(encoder.encode(abi.magic));
  layout.encode(bytes.subarray(MAGIC_SIZE), {
    nr_pages: BigInt(info.nrPages),
    shared_info: BigInt(info.sharedInfo),
    flags: info.flags,
    store_mfn: BigInt(info.storeFrame),
    store_evtchn: info.storePort,
    console_mfn: BigInt(info.consoleFrame),
    console_evtchn: info.consolePort,
    pt_base: info.ptBase,
    nr_pt_frames: BigInt(info.nrPtFrames),
    mfn_list: info.mfnList,
    mod_start: info.modStart,
    mod_len: BigInt(info.modLength),
  });
  bytes.set(encoder.encode(info.commandLine).subarray(0, MAX_COMMAND_LINE - 1), MAGIC_SIZE + layout.size);
  end.encode(bytes.subarray(MAGIC_SIZE + layout.size + MAX_COMMAND_LINE), {
    first_p2m_pfn: BigInt(info.firstP2mPfn),
    nr_p2m_frames: BigInt(info.nrP2mFrames),
  });
  memory.copyIn(address, bytes);
}
