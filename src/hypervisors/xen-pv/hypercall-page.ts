/** The page that Xen fills with hypercalls where the kernel asks for it (its note HYPERCALL_PAGE). */
import { PAGE_SIZE } from '../../x86/paging.ts';

/** Bytes of the code of one hypercall. */
const SLOT = 32;
const INT3 = 0xcc;

/** A page of slots, with the code that `slot` gives for each number; the rest are breakpoints. */
export function hypercallSlots(slot: (number: number) => readonly number[]): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE).fill(INT3);
  for (let number = 0; number < PAGE_SIZE / SLOT; number++) page.set(slot(number), number * SLOT);
  return page;
}
