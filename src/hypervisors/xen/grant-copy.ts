/** GNTTABOP_copy: bytes between pages, each named as a frame of the caller's or by a grant. */
import { PAGE_SIZE } from '../../x86/paging.ts';
import { DOMID_SELF } from './constants.ts';
import { type Domain, MAX_FRAME } from './domain.ts';
import { ENTRY_SIZE } from './grant-entries.ts';
import {
  GNTST_bad_copy_arg,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_okay,
  GNTST_permission_denied,
} from './grant-status.ts';
import type { Use } from './grant-table.ts';

/** struct gnttab_copy_ptr. */
export interface CopySide {
  /** The grant, where the flags say so; otherwise the frame. */
  isGrant: boolean;
  grantOrFrame: bigint;
  domid: number;
  offset: number;
}

/** A page taken for one side of a copy. */
interface Claim {
  address: number;
  /** What may be copied of it. */
  start: number;
  length: number;
  end(): void;
}

const DOMAIN_0_ENTRIES = BigInt(PAGE_SIZE / ENTRY_SIZE[1]);

/** @returns a GNTST_ */
export function copyGranted(domain: Domain, source: CopySide, dest: CopySide, length: number): number {
  for (const side of [source, dest]) {
    // Frames are the caller's own, under that one name.
    if (side.domid !== DOMID_SELF && !side.isGrant) return GNTST_permission_denied;
    if (!domain.exists(side.domid)) return GNTST_bad_domain;
  }
  const from = claim(domain, source, false);
  if (typeof from === 'number') return from;
  const to = claim(domain, dest, true);
  if (typeof to === 'number') {
    from.end();
    return to;
  }
  const status = copyBytes(domain, source.offset, from, dest.offset, to, length);
  from.end();
  to.end();
  return status;
}

function copyBytes(domain: Domain, sourceOffset: number, from: Claim, destOffset: number, to: Claim, length: number) {
  if (sourceOffset + length > PAGE_SIZE || destOffset + length > PAGE_SIZE) return GNTST_bad_copy_arg;
  if (!isWithin(from, sourceOffset, length) || !isWithin(to, destOffset, length)) return GNTST_general_error;
  const { memory } = domain;
  memory.copyIn(to.address + destOffset, memory.copyOut(from.address + sourceOffset, length));
  return GNTST_okay;
}

function isWithin({ start, length: size }: Claim, offset: number, length: number): boolean {
  return offset >= start && offset + length <= start + size;
}

function claim(domain: Domain, side: CopySide, write: boolean): Claim | number {
  if (!side.isGrant) return claimFrame(domain, side.grantOrFrame, write);
  const reference = side.grantOrFrame & 0xffffffffn;
  // Domain 0 grants nothing to a guest.
  if (side.domid === 0) return reference < DOMAIN_0_ENTRIES ? GNTST_general_error : GNTST_bad_gntref;
  return claimGrant(domain, Number(reference), write);
}

function claimFrame(domain: Domain, frame: bigint, write: boolean): Claim | number {
  const { kind } = domain;
  const address = frame < MAX_FRAME ? kind.frame(domain, Number(frame), false) : undefined;
  if (address === undefined) return GNTST_bad_page;
  if (kind.hold(domain, Number(frame), write) === undefined) return GNTST_general_error;
  return { address, start: 0, length: PAGE_SIZE, end: () => kind.release(domain, address, write) };
}

function claimGrant(domain: Domain, reference: number, write: boolean): Claim | number {
  const { grants, kind } = domain;
  const use: Use = { write, host: true, device: false, mapping: false };
  const active = grants.pin(reference, domain.id, use);
  if (typeof active === 'number') return active;
  const { address, start, length } = active;
  if (kind.hold(domain, address / PAGE_SIZE, write) === undefined) {
    grants.unpin(reference, use);
    return GNTST_general_error;
  }
  const end = () => {
    kind.release(domain, address, write);
    grants.unpin(reference, use);
  };
  return { address, start, length, end };
}
