/**
 * Registers that hand over a page of the guest's: bit 0 enables, bits 12 and up are the page's number (TLFS 13.5,
 * 11.11).
 */
import type { GuestMemory } from '../../memory/memory.ts';
import { PAGE_SHIFT, PAGE_SIZE } from '../../x86/paging.ts';

export const ENABLED = 1n;

/** The guest-physical address of an enabled register's page; undefined while it is disabled. */
export function pageOf(value: bigint): number | undefined {
  return value & ENABLED ? Number(value >> BigInt(PAGE_SHIFT)) * PAGE_SIZE : undefined;
}

/** False for a value that enables a page which is not RAM: #GP. */
export function isUsable(memory: GuestMemory, value: bigint): boolean {
  const page = pageOf(value);
  return page === undefined || memory.has(page, PAGE_SIZE);
}
