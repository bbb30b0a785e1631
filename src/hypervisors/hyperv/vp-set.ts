/** Sets of processors in a hypercall's input (TLFS 7.8.7.3, HV_VP_SET): a bit for each index, in banks of 64. */
import type { GuestMemory } from '../../memory/memory.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { HV_STATUS_INVALID_HYPERCALL_INPUT, HV_STATUS_INVALID_PARAMETER } from './call.ts';

const HV_GENERIC_SET_SPARSE_4K = 0n;
const HV_GENERIC_SET_ALL = 1n;

/** Format and mask of the banks that follow, without these. */
export const VP_SET_HEADER = 16;
const BANK_SIZE = 8;
const VPS_A_BANK = 64;

/** Tells whether the index of a processor is in the set. */
export type VpSet = (vpIndex: number) => boolean;

/** A processor's index. */
export const vpIndexOf = ({ id }: Processor): number => id;

/** The first 64 processors, a bit each. */
export const maskSet =
  (mask: bigint): VpSet =>
  index =>
    index < VPS_A_BANK && ((mask >> BigInt(index)) & 1n) === 1n;

/**
 * Reads a set.
 * @param address of its header, which is in RAM with all of `banks` banks after it
 * @returns a status, if there are not so many banks as the header says, or it is none
 */
export function readVpSet(memory: GuestMemory, address: number, banks: number): VpSet | number {
  const format = memory.read64(address);
  const valid = memory.read64(address + 8);
  const places: number[] = [];
  for (let bank = 0; bank < 64; bank++) if ((valid >> BigInt(bank)) & 1n) places.push(bank);
  if (places.length !== banks) return HV_STATUS_INVALID_HYPERCALL_INPUT;
  if (format === HV_GENERIC_SET_ALL) return () => true;
  if (format !== HV_GENERIC_SET_SPARSE_4K) return HV_STATUS_INVALID_PARAMETER;
  const masks = new Map(
    places.map((bank, place) => [bank, memory.read64(address + VP_SET_HEADER + place * BANK_SIZE)]),
  );
  return index => (((masks.get(Math.floor(index / VPS_A_BANK)) ?? 0n) >> BigInt(index % VPS_A_BANK)) & 1n) === 1n;
}

/** Bytes of a set with so many banks. */
export const vpSetSize = (banks: number): number => VP_SET_HEADER + banks * BANK_SIZE;
