/**
 * Where things stand in the shared_info page (public/xen.h, struct shared_info). vcpu_info comes first in both layouts,
 * 64 bytes for each of 32 processors, with the time record at 0x20; the rest depends on the width of the guest's
 * `long`.
 */
export interface SharedInfoLayout {
  width: 32 | 64;
  /** Number of event ports that evtchn_pending has bits for. */
  ports: number;
  evtchnPending: number;
  evtchnMask: number;
  /** wc_version, wc_sec, wc_nsec: 32 bits each, in this order. */
  wallclock: number;
  /** wc_sec_hi: the upper half of the seconds. */
  wallclockHigh: number;
  /** evtchn_pending_sel within vcpu_info: one bit for each `width` ports. */
  pendingSel: number;
  /** arch.cr2 within vcpu_info: the address of a PV guest's latest page fault. */
  cr2: number;
}

export const layout64: SharedInfoLayout = {
  width: 64,
  ports: 4096,
  evtchnPending: 0x800,
  evtchnMask: 0xa00,
  wallclock: 0xc00,
  wallclockHigh: 0xc0c,
  pendingSel: 8,
  cr2: 0x10,
};

export const layout32: SharedInfoLayout = {
  width: 32,
  ports: 1024,
  evtchnPending: 0x800,
  evtchnMask: 0x880,
  wallclock: 0x900,
  // In struct arch_shared_info of 32-bit guests, after six unsigned longs.
  wallclockHigh: 0x924,
  pendingSel: 4,
  cr2: 8,
};

/** struct vcpu_info, and the time record in it (struct vcpu_time_info). */
export const VCPU_INFO_SIZE = 64;
export const VCPU_INFO_TIME = 0x20;
