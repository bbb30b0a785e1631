/**
 * Address translation and the slow paths of memory access, emitted as WebAssembly functions: a boot misses the TLB millions
 * of times. SDM 3A chapter 4; access rights 4.6; accessed and dirty flags 4.8; error codes 4.7.
 */

import type { Body, Module } from '../../wasm/module.ts';
import {
  CR0_PG,
  CR0_WP,
  CR4_PAE,
  CR4_PGE,
  CR4_PSE,
  CR4_SMAP,
  CR4_SMEP,
  EFER_LMA,
  EFER_NXE,
} from '../../x86/control.ts';
import { AC } from '../../x86/flags.ts';
import {
  type Layout,
  PAGE_CODE,
  PAGE_RAM,
  TLB_ADDEND,
  TLB_BANK,
  TLB_EMPTY,
  TLB_ENTRIES,
  TLB_ENTRY,
  TLB_EXECUTE,
  TLB_FLAGS,
  TLB_KEYS,
  TLB_NOTES,
  TLB_NOTES_LIST,
  TLB_READ,
  TLB_WRITE,
} from '../layout.ts';
import { Hand } from './hand.ts';
import * as state from './state.ts';

const { STATE } = state;

/** Bits of an access, as `walk` takes them. The first three stand where the page-fault error code has them. */
export const ACCESS_WRITE = 2;
export const ACCESS_USER = 4;
export const ACCESS_EXECUTE = 16;
/** A supervisor access whatever CPL says (descriptor tables, exception stacks). */
export const ACCESS_IMPLICIT = 32;
/** Do not enter the translation in the TLB. */
export const ACCESS_PROBE = 64;
/** Report no fault in the state, only by the result. */
export const ACCESS_QUIET = 128;
/** The guest has not come here, and may never: nothing is found that has no accessed flags, for none may be set. */
export const ACCESS_LOOK = 256;

/** MAXPHYADDR 40: bits 40-51 of an entry are reserved. */
const RESERVED_HIGH = 0x000fff0000000000n;
const ADDRESS_MASK = 0x000000fffffff000n;

export interface Imports {
  /** (physical low, physical high, size) -> low half of the value; the high half goes to RESULT + 4. */
  mmioRead: number;
  /** (physical low, physical high, size, value low, value high). */
  mmioWrite: number;
  /** (physical, size): translated code was overwritten. */
  codeWritten: number;
  /** (linear, size, write): an access while data breakpoints are armed. */
  watch: number;
}

export interface Paging {
  /** (linear i64, access i32) -> physical i64, or -1 with FAULT set. */
  walk: number;
  /** (linear i64, size i32, forWrite i32) -> i64. Check FAULT. 128-bit values go to SLOW_VECTOR. */
  slowLoad: number;
  /** (linear i64, size i32, value i64). Check FAULT. 128-bit values come from SLOW_VECTOR. */
  slowStore: number;
}

/** Turns the linear address on the stack into the offset of its entry in a bank: bits 12 and up are the entry's number. */
export function emitEntryOffset(body: Body): void {
  body.op('i32.wrap_i64');
  body.i32(12 - Math.log2(TLB_ENTRY));
  body.op('i32.shr_u');
  body.i32((TLB_ENTRIES - 1) * TLB_ENTRY);
  body.op('i32.and');
}
/** Leaves the address of the TLB's entry for `linear` (local) in `entry`. */
export function emitEntry(body: Body, linear: number, entry: number): void {
  body.get(linear);
  emitEntryOffset(body);
  body.i32(0);
  body.memory('i32.load', STATE + state.TLB_BASE);
  body.op('i32.add');
  body.set(entry);
}

/** A page number that no address indexing entry `index` can have, as a tag (see emitEntryOffset). */
export function emptyTag(index: number): bigint {
  return index === 0 ? 0x1000n : 0n;
}
/** Leaves emptyTag of the TLB entry at `entry` (local): banks start at multiples of their size. */
function emitEmptyTag(body: Body, entry: number): void {
  body.i64(emptyTag(0));
  body.i64(emptyTag(1));
  body.get(entry);
  body.i32(TLB_BANK - 1);
  body.op('i32.and');
  body.op('i32.eqz');
  body.select();
}
/** Fills the bank that flushes copy from. */
export function writeEmptyBank(view: DataView): void {
  for (let index = 0; index < TLB_ENTRIES; index++)
    for (const tag of [TLB_READ, TLB_WRITE, TLB_EXECUTE])
      view.setBigUint64(TLB_EMPTY + index * 32 + tag, emptyTag(index), true);
}

export function emitPaging(module: Module, layout: Layout, imports: Imports): Paging {
  const walk = module.function(walkBody(layout), 'walk');
  const slowLoad = module.function(slowLoadBody(layout, imports, walk), 'slowLoad');
  const slowStore = module.function(slowStoreBody(layout, imports, walk), 'slowStore');
  module.function(revokeBody(), 'revoke');
  return { walk, slowLoad, slowStore };
}

/** (from i32, to i32, host i32): takes the write tag of entries [from, to) of the TLB whose page is at `host` (tlb.ts). */
function revokeBody(): Body {
  const b = new Hand(['i32', 'i32', 'i32'], []);
  const [entry, end, host] = [0, 1, 2];
  const next = b.loop();
  b.get(entry);
  b.memory('i32.load', TLB_WRITE);
  b.get(entry);
  b.memory('i32.load', TLB_ADDEND);
  b.op('i32.add');
  b.get(host);
  b.op('i32.eq');
  b.when(() => {
    b.get(entry);
    emitEmptyTag(b, entry);
    b.memory('i64.store', TLB_WRITE);
  });
  b.get(entry);
  b.i32(TLB_ENTRY);
  b.op('i32.add');
  b.tee(entry);
  b.get(end);
  b.op('i32.lt_u');
  b.brIf(next);
  b.end();
  return b;
}

function walkBody(layout: Layout): Body {
  const b = new Hand(['i64', 'i32'], ['i64']);
  const [linear, access] = [0, 1];
  const table = b.local('i64');
  const pte = b.local('i64');
  const address = b.local('i32');
  const level = b.local('i32');
  const wide = b.local('i32'); // long mode
  const entries64 = b.local('i32'); // PAE or long mode
  const writable = b.local('i64');
  const user = b.local('i64');
  const noExecute = b.local('i64');
  const code = b.local('i32'); // page-fault error code
  const shift = b.local('i64');
  const physical = b.local('i64');
  const isUser = b.local('i32');
  const readOk = b.local('i32');
  const writeOk = b.local('i32');
  const executeOk = b.local('i32');
  const entry = b.local('i32');
  const global = b.local('i32');
  const dirty = b.local('i64');

  const set64 = (local: number, value: bigint) => {
    b.i64(value);
    b.set(local);
  };
  const bit = (local: number, n: number) => {
    b.get(local);
    b.i64(BigInt(n));
    b.op('i64.shr_u');
    b.i64(1n);
    b.op('i64.and');
  };

  // Everything that ends in a fault branches to `fault` with `code` set.
  const outer = b.block();
  const fault = b.block();
  const done = b.block();

  const unlessLooking = () => {
    b.get(access);
    b.i32(ACCESS_LOOK);
    b.op('i32.and');
    b.brIf(fault);
  };

  // A user access, unless implicit.
  b.state32(state.CPL);
  b.i32(3);
  b.op('i32.eq');
  b.get(access);
  b.i32(ACCESS_USER);
  b.op('i32.and');
  b.op('i32.or');
  b.get(access);
  b.i32(ACCESS_IMPLICIT);
  b.op('i32.and');
  b.op('i32.eqz');
  b.op('i32.and');
  b.i32(0);
  b.op('i32.ne');
  b.set(isUser);
  b.get(access);
  b.i32(ACCESS_WRITE | ACCESS_EXECUTE);
  b.op('i32.and');
  b.get(isUser);
  b.i32(2);
  b.op('i32.shl');
  b.op('i32.or');
  b.set(code);
  b.i32(1);
  b.tee(readOk);
  b.tee(writeOk);
  b.set(executeOk);

  // No paging: linear is physical.
  b.flag(state.CR0, CR0_PG);
  b.op('i32.eqz');
  b.when(() => {
    b.get(linear);
    b.set(physical);
    b.br(done);
  });
  b.flag(state.EFER, EFER_LMA);
  b.set(wide);
  b.flag(state.CR4, CR4_PAE);
  b.set(entries64);
  set64(writable, 1n);
  set64(user, 1n);
  b.state64(state.CR3);
  b.set(table);

  b.get(entries64);
  b.when(
    () => {
      b.get(wide);
      b.when(
        () => {
          // Canonical? Bits 63-47 all equal; otherwise #GP(0).
          b.get(linear);
          b.i64(16n);
          b.op('i64.shl');
          b.i64(16n);
          b.op('i64.shr_s');
          b.get(linear);
          b.op('i64.ne');
          b.when(() => {
            b.get(access);
            b.i32(ACCESS_QUIET);
            b.op('i32.and');
            b.op('i32.eqz');
            b.when(() => {
              b.setState32(state.FAULT, () => b.i32(13 | 0x100));
              b.setState32(state.FAULT_CODE, () => b.i32(0));
            });
            b.br(outer);
          });
          b.get(table);
          b.i64(ADDRESS_MASK);
          b.op('i64.and');
          b.set(table);
          b.i32(3);
          b.set(level);
        },
        () => {
          b.get(table);
          b.i64(0xffffffe0n);
          b.op('i64.and');
          b.set(table);
          b.i32(2);
          b.set(level);
        },
      );
      const found = b.block();
      const next = b.loop();
      // shift = 12 + 9 * level; entry at table + ((linear >> shift) & 511) * 8 (the PDPT of PAE has 4 entries).
      b.get(level);
      b.i32(9);
      b.op('i32.mul');
      b.i32(12);
      b.op('i32.add');
      b.op('i64.extend_i32_u');
      b.set(shift);
      b.get(table);
      b.get(linear);
      b.get(shift);
      b.op('i64.shr_u');
      b.i64(511n);
      b.op('i64.and');
      b.i64(3n);
      b.op('i64.shl');
      b.op('i64.add');
      b.tee(pte);
      b.i64(BigInt(layout.ramSize - 8));
      b.op('i64.gt_u');
      b.when(
        () => {
          // A table outside RAM reads as not present.
          b.i32(0);
          b.set(address);
          set64(pte, 0n);
        },
        () => {
          b.get(pte);
          b.op('i32.wrap_i64');
          b.i32(layout.guestOrigin);
          b.op('i32.add');
          b.tee(address);
          b.memory('i64.load', 0);
          b.set(pte);
        },
      );
      // Not present, whatever the levels above were: error code bit 0 is clear.
      b.get(code);
      b.i32(-2);
      b.op('i32.and');
      b.set(code);
      b.get(pte);
      b.i64(1n);
      b.op('i64.and');
      b.op('i64.eqz');
      b.brIf(fault);
      b.get(code);
      b.i32(1);
      b.op('i32.or');
      b.set(code);
      const reserved = (mask: bigint) => {
        b.get(pte);
        b.i64(mask);
        b.op('i64.and');
        b.op('i64.eqz');
        b.op('i32.eqz');
        b.when(() => {
          b.get(code);
          b.i32(8);
          b.op('i32.or');
          b.set(code);
          b.br(fault);
        });
      };
      reserved(RESERVED_HIGH);
      bit(pte, 63);
      b.op('i32.wrap_i64');
      b.when(() => {
        b.flag(state.EFER, EFER_NXE);
        b.op('i32.eqz');
        b.when(() => reserved(1n << 63n));
      });
      // The PDPT of PAE paging has neither rights nor accessed flags.
      b.get(wide);
      b.get(level);
      b.i32(2);
      b.op('i32.ne');
      b.op('i32.or');
      b.when(() => {
        bit(pte, 1);
        b.get(writable);
        b.op('i64.and');
        b.set(writable);
        bit(pte, 2);
        b.get(user);
        b.op('i64.and');
        b.set(user);
        bit(pte, 63);
        b.get(noExecute);
        b.op('i64.or');
        b.set(noExecute);
        // PS: a large page at level 1, and at level 2 in long mode; reserved at level 3.
        bit(pte, 7);
        b.op('i32.wrap_i64');
        b.get(level);
        b.i32(0);
        b.op('i32.ne');
        b.op('i32.and');
        b.when(() => {
          b.get(level);
          b.i32(3);
          b.op('i32.eq');
          b.when(() => reserved(0x80n));
          // Address bits below the page size, PAT (bit 12) excepted, are reserved.
          b.get(level);
          b.i32(1);
          b.op('i32.eq');
          b.when(
            () => reserved(0x1fe000n),
            () => reserved(0x3fffe000n),
          );
          b.br(found);
        });
      });
      b.get(level);
      b.op('i32.eqz');
      b.brIf(found);
      // Accessed flag of the table entry.
      b.get(wide);
      b.get(level);
      b.i32(2);
      b.op('i32.ne');
      b.op('i32.or');
      bit(pte, 5);
      b.op('i32.wrap_i64');
      b.op('i32.eqz');
      b.op('i32.and');
      b.when(() => {
        unlessLooking();
        b.get(address);
        b.get(pte);
        b.i64(0x20n);
        b.op('i64.or');
        b.memory('i64.store', 0);
      });
      b.get(pte);
      b.i64(ADDRESS_MASK);
      b.op('i64.and');
      b.set(table);
      b.get(level);
      b.i32(1);
      b.op('i32.sub');
      b.set(level);
      b.br(next);
      b.end();
      b.end();
    },
    () => {
      // 32-bit paging, two levels of 4-byte entries (SDM 3A 4.3).
      b.get(linear);
      b.i64(0xffffffffn);
      b.op('i64.and');
      b.set(linear);
      b.i32(1);
      b.set(level);
      b.get(table);
      b.i64(0xfffff000n);
      b.op('i64.and');
      b.set(table);
      const found = b.block();
      const next = b.loop();
      b.get(level);
      b.i32(10);
      b.op('i32.mul');
      b.i32(12);
      b.op('i32.add');
      b.op('i64.extend_i32_u');
      b.set(shift);
      b.get(table);
      b.get(linear);
      b.get(shift);
      b.op('i64.shr_u');
      b.i64(1023n);
      b.op('i64.and');
      b.i64(2n);
      b.op('i64.shl');
      b.op('i64.add');
      b.tee(pte);
      b.i64(BigInt(layout.ramSize - 4));
      b.op('i64.gt_u');
      b.when(
        () => {
          b.i32(0);
          b.set(address);
          set64(pte, 0n);
        },
        () => {
          b.get(pte);
          b.op('i32.wrap_i64');
          b.i32(layout.guestOrigin);
          b.op('i32.add');
          b.tee(address);
          b.memory('i64.load32_u', 0);
          b.set(pte);
        },
      );
      // Not present, whatever the levels above were: error code bit 0 is clear.
      b.get(code);
      b.i32(-2);
      b.op('i32.and');
      b.set(code);
      b.get(pte);
      b.i64(1n);
      b.op('i64.and');
      b.op('i64.eqz');
      b.brIf(fault);
      b.get(code);
      b.i32(1);
      b.op('i32.or');
      b.set(code);
      bit(pte, 1);
      b.get(writable);
      b.op('i64.and');
      b.set(writable);
      bit(pte, 2);
      b.get(user);
      b.op('i64.and');
      b.set(user);
      b.get(level);
      b.op('i32.eqz');
      b.brIf(found);
      bit(pte, 7);
      b.op('i32.wrap_i64');
      b.flag(state.CR4, CR4_PSE);
      b.op('i32.and');
      b.brIf(found);
      bit(pte, 5);
      b.op('i64.eqz');
      b.when(() => {
        b.get(address);
        b.get(pte);
        b.i64(0x20n);
        b.op('i64.or');
        b.memory('i64.store32', 0);
      });
      b.get(pte);
      b.i64(0xfffff000n);
      b.op('i64.and');
      b.set(table);
      b.i32(0);
      b.set(level);
      b.br(next);
      b.end();
      b.end();
    },
  );

  // `pte` maps a page of 1 << shift bytes. Rights (SDM 3A 4.6).
  const userPage = () => {
    b.get(user);
    b.op('i32.wrap_i64');
  };
  b.get(isUser);
  b.when(
    () => {
      userPage();
      b.set(readOk);
      userPage();
      b.get(writable);
      b.op('i32.wrap_i64');
      b.op('i32.and');
      b.set(writeOk);
      userPage();
      b.get(noExecute);
      b.op('i64.eqz');
      b.op('i32.and');
      b.set(executeOk);
    },
    () => {
      // SMAP: no data access to user pages unless RFLAGS.AC is set, and never an implicit one.
      userPage();
      b.flag(state.CR4, CR4_SMAP);
      b.op('i32.and');
      b.flag(state.FLAGS_REST, AC);
      b.get(access);
      b.i32(ACCESS_IMPLICIT);
      b.op('i32.and');
      b.op('i32.eqz');
      b.op('i32.and');
      b.op('i32.eqz');
      b.op('i32.and');
      b.op('i32.eqz');
      b.set(readOk);
      b.get(writable);
      b.op('i32.wrap_i64');
      b.flag(state.CR0, CR0_WP);
      b.op('i32.eqz');
      b.op('i32.or');
      b.get(readOk);
      b.op('i32.and');
      b.set(writeOk);
      userPage();
      b.flag(state.CR4, CR4_SMEP);
      b.op('i32.and');
      b.get(noExecute);
      b.op('i32.wrap_i64');
      b.op('i32.or');
      b.op('i32.eqz');
      b.set(executeOk);
    },
  );
  b.get(access);
  b.i32(ACCESS_EXECUTE);
  b.op('i32.and');
  b.when(
    () => {
      b.get(executeOk);
      b.op('i32.eqz');
      b.brIf(fault);
    },
    () => {
      b.get(access);
      b.i32(ACCESS_WRITE);
      b.op('i32.and');
      b.when(
        () => {
          b.get(writeOk);
          b.op('i32.eqz');
          b.brIf(fault);
        },
        () => {
          b.get(readOk);
          b.op('i32.eqz');
          b.brIf(fault);
        },
      );
    },
  );
  // Accessed and dirty.
  b.i64(0x20n);
  b.i64(0x60n);
  b.get(access);
  b.i32(ACCESS_WRITE);
  b.op('i32.and');
  b.op('i32.eqz');
  b.select();
  b.set(dirty);
  b.get(pte);
  b.get(dirty);
  b.op('i64.and');
  b.get(dirty);
  b.op('i64.ne');
  b.when(() => {
    unlessLooking();
    b.get(pte);
    b.get(dirty);
    b.op('i64.or');
    b.set(pte);
    b.get(address);
    b.get(pte);
    // The low byte holds both flags: one store serves both entry sizes.
    b.memory('i64.store8', 0);
  });
  // Without the dirty flag set, the first write must come here again.
  bit(pte, 6);
  b.op('i32.wrap_i64');
  b.get(writeOk);
  b.op('i32.and');
  b.set(writeOk);
  bit(pte, 8);
  b.op('i32.wrap_i64');
  b.flag(state.CR4, CR4_PGE);
  b.op('i32.and');
  b.set(global);
  // physical = (pte & address mask & -(1 << shift)) | (linear & ((1 << shift) - 1))
  b.get(pte);
  b.get(entries64);
  b.if('i64');
  b.i64(ADDRESS_MASK);
  b.else();
  b.i64(0xfffff000n);
  b.end();
  b.op('i64.and');
  b.i64(-1n);
  b.get(shift);
  b.op('i64.shl');
  b.op('i64.and');
  b.get(linear);
  b.i64(-1n);
  b.get(shift);
  b.op('i64.shl');
  b.i64(-1n);
  b.op('i64.xor');
  b.op('i64.and');
  b.op('i64.or');
  b.set(physical);
  // PSE-36: bits 13-20 of a 4 MiB entry are address bits 32-39.
  b.get(entries64);
  b.op('i32.eqz');
  b.get(level);
  b.op('i32.and');
  b.when(() => {
    b.get(physical);
    b.get(pte);
    b.i64(13n);
    b.op('i64.shr_u');
    b.i64(0xffn);
    b.op('i64.and');
    b.i64(32n);
    b.op('i64.shl');
    b.op('i64.or');
    b.set(physical);
  });
  b.end(); // done

  // Enter it in the TLB if it is RAM.
  b.get(access);
  b.i32(ACCESS_PROBE);
  b.op('i32.and');
  b.op('i32.eqz');
  b.get(physical);
  b.i64(BigInt(layout.ramSize));
  b.op('i64.lt_u');
  b.op('i32.and');
  b.when(() => {
    const kind = b.local('i32');
    b.get(physical);
    b.i64(12n);
    b.op('i64.shr_u');
    b.op('i32.wrap_i64');
    b.memory('i32.load8_u', layout.pageKind);
    b.tee(kind);
    b.i32(PAGE_CODE);
    b.op('i32.le_u');
    b.when(() => {
      emitEntry(b, linear, entry);
      const page = b.local('i64');
      const none = b.local('i64');
      b.get(linear);
      b.i64(-4096n);
      b.op('i64.and');
      b.set(page);
      emitEmptyTag(b, entry);
      b.set(none);
      const tag = (offset: number, condition: () => void) => {
        b.get(entry);
        b.get(page);
        b.get(none);
        condition();
        b.select();
        b.memory('i64.store', offset);
      };
      const unwatched = () => {
        b.state32(state.WATCHING);
        b.op('i32.eqz');
        b.op('i32.and');
      };
      tag(TLB_READ, () => {
        b.get(readOk);
        unwatched();
      });
      tag(TLB_WRITE, () => {
        b.get(writeOk);
        b.get(kind);
        b.i32(PAGE_RAM);
        b.op('i32.eq');
        b.op('i32.and');
        unwatched();
      });
      const before = b.local('i64');
      b.get(entry);
      b.memory('i64.load', TLB_EXECUTE);
      b.set(before);
      tag(TLB_EXECUTE, () => b.get(executeOk));
      emitKey(b, entry, before, none);
      b.get(entry);
      b.get(physical);
      b.get(linear);
      b.op('i64.sub');
      b.op('i32.wrap_i64');
      b.i32(layout.guestOrigin);
      b.op('i32.add');
      b.memory('i32.store', TLB_ADDEND);
      b.get(entry);
      b.get(global);
      b.memory('i32.store', TLB_FLAGS);
      emitNote(b, entry, global);
    });
  });
  b.setState64(state.PHYSICAL, () => b.get(physical));
  b.get(physical);
  b.return();
  b.end(); // fault

  // The instruction-fetch bit of the error code exists only with NX or SMEP on.
  b.flag(state.EFER, EFER_NXE);
  b.flag(state.CR4, CR4_SMEP);
  b.op('i32.or');
  b.op('i32.eqz');
  b.when(() => {
    b.get(code);
    b.i32(~ACCESS_EXECUTE);
    b.op('i32.and');
    b.set(code);
  });
  b.get(access);
  b.i32(ACCESS_QUIET);
  b.op('i32.and');
  b.op('i32.eqz');
  b.when(() => {
    b.setState32(state.FAULT, () => b.i32(14 | 0x100));
    b.setState32(state.FAULT_CODE, () => b.get(code));
    b.setState64(state.CR2, () => b.get(linear));
  });
  b.setState32(state.PHYSICAL, () => b.get(code));
  b.end(); // outer
  b.i64(-1n);
  return b;
}

/** A page that was there for execution `before`, and is not now, takes the bank's key with it (layout.ts). */
function emitKey(b: Hand, entry: number, before: number, none: number): void {
  b.get(before);
  b.get(none);
  b.op('i64.ne');
  b.get(before);
  b.get(entry);
  b.memory('i64.load', TLB_EXECUTE);
  b.op('i64.ne');
  b.op('i32.and');
  b.when(() => {
    const key = b.local('i64');
    b.i32(0);
    b.i32(0);
    b.memory('i64.load', TLB_KEYS);
    b.i64(1n);
    b.op('i64.add');
    b.tee(key);
    b.memory('i64.store', TLB_KEYS);
    emitKeyPlace(b);
    b.get(key);
    b.memory('i64.store', TLB_KEYS);
  });
}
/** Leaves the place of the current bank's key in TLB_KEYS. */
export function emitKeyPlace(body: Body): void {
  body.i32(0);
  body.memory('i32.load', STATE + state.TLB_BASE);
  body.i32(Math.log2(TLB_BANK / 8));
  body.op('i32.shr_u');
}

/** Notes that an entry has been filled, so that a flush finds it. */
function emitNote(b: Hand, entry: number, global: number): void {
  const list = b.local('i32');
  const count = b.local('i32');
  b.state32(state.NOTES);
  b.get(global);
  b.i32(TLB_NOTES_LIST);
  b.op('i32.mul');
  b.op('i32.add');
  b.tee(list);
  b.memory('i32.load', 0);
  b.tee(count);
  b.i32(TLB_NOTES);
  b.op('i32.le_u');
  b.when(() => {
    b.get(list);
    b.get(count);
    b.i32(1);
    b.op('i32.add');
    b.memory('i32.store', 0);
    b.get(count);
    b.i32(TLB_NOTES);
    b.op('i32.ne');
    b.when(() => {
      b.get(list);
      b.get(count);
      b.i32(2);
      b.op('i32.shl');
      b.op('i32.add');
      b.get(entry);
      b.memory('i32.store', 4);
    });
  });
}

/** Emits a call of `walk` for the linear address in `local` and returns from the function if it faults. */
function walkOrReturn(
  b: Hand,
  walk: number,
  linear: () => void,
  access: () => void,
  physical: number,
  result: () => void,
): void {
  linear();
  access();
  b.call(walk);
  b.tee(physical);
  b.i64(-1n);
  b.op('i64.eq');
  b.when(() => {
    result();
    b.return();
  });
}

/** True on the stack if [physical, +size) is RAM or ROM-like and not a device's page. */
function isRam(b: Hand, layout: Layout, physical: number): void {
  b.get(physical);
  b.i64(BigInt(layout.ramSize));
  b.op('i64.lt_u');
  b.if('i32');
  b.get(physical);
  b.i64(12n);
  b.op('i64.shr_u');
  b.op('i32.wrap_i64');
  b.memory('i32.load8_u', layout.pageKind);
  b.i32(PAGE_CODE);
  b.op('i32.le_u');
  b.else();
  b.i32(0);
  b.end();
}

function halves(b: Hand, local: number): void {
  b.get(local);
  b.op('i32.wrap_i64');
  b.get(local);
  b.i64(32n);
  b.op('i64.shr_u');
  b.op('i32.wrap_i64');
}

/** True on the stack if the access of `size` at `linear` spans two pages. */
export function crosses(b: Hand, linear: number, size: number): void {
  b.get(linear);
  b.op('i32.wrap_i64');
  b.i32(4095);
  b.op('i32.and');
  b.get(size);
  b.op('i32.add');
  b.i32(4096);
  b.op('i32.gt_u');
}
/** The linear address of the second page (where CR2 points if it faults); outside long mode it wraps at 4 GiB. */
function secondPage(b: Hand, linear: number, size: number): void {
  b.get(linear);
  b.get(size);
  b.i32(1);
  b.op('i32.sub');
  b.op('i64.extend_i32_u');
  b.op('i64.add');
  b.i64(~4095n);
  b.op('i64.and');
  wrapLinear(b);
}
function wrapLinear(b: Hand): void {
  b.flag(state.EFER, EFER_LMA);
  b.if('i64');
  b.i64(-1n);
  b.else();
  b.i64(0xffffffffn);
  b.end();
  b.op('i64.and');
}

/** Tells who watches data breakpoints; before the access, once it can no longer fault. */
function emitWatch(b: Hand, imports: Imports, linear: number, size: number, write: boolean): void {
  b.state32(state.WATCHING);
  b.when(() => {
    halves(b, linear);
    b.get(size);
    b.i32(write ? 1 : 0);
    b.call(imports.watch);
  });
}

function slowLoadBody(layout: Layout, imports: Imports, walk: number): Body {
  const b = new Hand(['i64', 'i32', 'i32'], ['i64']);
  const [linear, size, forWrite] = [0, 1, 2];
  const physical = b.local('i64');
  const other = b.local('i64');
  const value = b.local('i64');
  const index = b.local('i32');
  const zero = () => b.i64(0n);
  const access = () => {
    b.get(forWrite);
    b.i32(1);
    b.op('i32.shl'); // ACCESS_WRITE
  };
  walkOrReturn(b, walk, () => b.get(linear), access, physical, zero);
  crosses(b, linear, size);
  b.when(() => {
    walkOrReturn(b, walk, () => secondPage(b, linear, size), access, other, zero);
    emitWatch(b, imports, linear, size, false);
    // Byte by byte: bytes before the page's end from the first page, the rest from the second.
    const done = b.block();
    const next = b.loop();
    b.get(index);
    b.get(size);
    b.op('i32.ge_u');
    b.brIf(done);
    const at = b.local('i64');
    byteAddress(b, linear, index, physical, other, at);
    const byte = b.local('i64');
    isRam(b, layout, at);
    b.when(
      () => {
        b.get(at);
        b.op('i32.wrap_i64');
        b.memory('i64.load8_u', layout.guestOrigin);
        b.set(byte);
      },
      () => {
        halves(b, at);
        b.i32(1);
        b.call(imports.mmioRead);
        b.op('i64.extend_i32_u');
        b.set(byte);
      },
    );
    b.get(index);
    b.get(byte);
    b.memory('i64.store8', STATE + state.SLOW_VECTOR);
    b.get(index);
    b.i32(1);
    b.op('i32.add');
    b.set(index);
    b.br(next);
    b.end();
    b.end();
    // The value is what the scratch holds, as wide as asked for.
    b.state64(state.SLOW_VECTOR);
    b.i64(-1n);
    b.i64(64n);
    b.get(size);
    b.i32(3);
    b.op('i32.shl');
    b.op('i64.extend_i32_u');
    b.op('i64.sub');
    b.op('i64.shr_u');
    b.op('i64.and');
    b.return();
  });
  emitWatch(b, imports, linear, size, false);
  isRam(b, layout, physical);
  b.when(
    () => {
      for (const [bytes, load] of [
        [8, 'i64.load'],
        [4, 'i64.load32_u'],
        [2, 'i64.load16_u'],
        [1, 'i64.load8_u'],
      ] as const) {
        b.get(size);
        b.i32(bytes);
        b.op('i32.eq');
        b.when(() => {
          b.get(physical);
          b.op('i32.wrap_i64');
          b.memory(load, layout.guestOrigin);
          b.return();
        });
      }
      b.i32(0);
      b.get(physical);
      b.op('i32.wrap_i64');
      b.memory('v128.load', layout.guestOrigin);
      b.memory('v128.store', STATE + state.SLOW_VECTOR);
    },
    () => {
      // 128 bits of a device are two accesses of 64.
      b.get(size);
      b.i32(16);
      b.op('i32.eq');
      b.when(() => {
        for (const half of [0, 8]) {
          b.get(physical);
          b.i64(BigInt(half));
          b.op('i64.add');
          b.set(other);
          b.i32(0);
          halves(b, other);
          b.i32(8);
          b.call(imports.mmioRead);
          b.memory('i32.store', STATE + state.SLOW_VECTOR + half);
          b.setState32(state.SLOW_VECTOR + half + 4, () => b.state32(state.RESULT + 4));
        }
        b.i64(0n);
        b.return();
      });
      halves(b, physical);
      b.get(size);
      b.call(imports.mmioRead);
      b.op('i64.extend_i32_u');
      b.set(value);
      b.get(size);
      b.i32(8);
      b.op('i32.eq');
      b.when(() => {
        b.get(value);
        b.i32(0);
        b.memory('i64.load32_u', STATE + state.RESULT + 4);
        b.i64(32n);
        b.op('i64.shl');
        b.op('i64.or');
        b.set(value);
      });
    },
  );
  b.get(value);
  return b;
}

/** at = physical address of byte `index` of an access that spans two pages. */
function byteAddress(b: Hand, linear: number, index: number, first: number, second: number, at: number): void {
  b.get(linear);
  b.op('i32.wrap_i64');
  b.i32(4095);
  b.op('i32.and');
  b.get(index);
  b.op('i32.add');
  b.i32(4096);
  b.op('i32.lt_u');
  b.when(
    () => {
      b.get(first);
      b.get(index);
      b.op('i64.extend_i32_u');
      b.op('i64.add');
      b.set(at);
    },
    () => {
      b.get(second);
      b.get(linear);
      b.op('i32.wrap_i64');
      b.get(index);
      b.op('i32.add');
      b.i32(4095);
      b.op('i32.and');
      b.op('i64.extend_i32_u');
      b.op('i64.add');
      b.set(at);
    },
  );
}

function slowStoreBody(layout: Layout, imports: Imports, walk: number): Body {
  const b = new Hand(['i64', 'i32', 'i64'], []);
  const [linear, size, value] = [0, 1, 2];
  const physical = b.local('i64');
  const other = b.local('i64');
  const index = b.local('i32');
  const at = b.local('i64');
  const access = () => b.i32(ACCESS_WRITE);
  const nothing = () => {};
  /** Tells the engine if the bytes at `address` (physical, in RAM) held translated code. */
  const notify = (address: number, bytes: () => void) => {
    const page = b.local('i32');
    b.get(address);
    b.i64(12n);
    b.op('i64.shr_u');
    b.op('i32.wrap_i64');
    b.tee(page);
    b.memory('i32.load8_u', layout.pageKind);
    b.i32(PAGE_CODE);
    b.op('i32.eq');
    b.when(() => {
      // Only if one of the 64-byte chunks written holds code.
      b.get(page);
      b.i32(3);
      b.op('i32.shl');
      b.memory('i64.load', layout.codeChunks);
      const chunk = (last: boolean) => {
        b.i64(1n);
        b.get(address);
        if (last) {
          bytes();
          b.i32(1);
          b.op('i32.sub');
          b.op('i64.extend_i32_u');
          b.op('i64.add');
        }
        b.i64(6n);
        b.op('i64.shr_u');
        b.op('i64.shl'); // the count is taken modulo 64
      };
      chunk(false);
      chunk(true);
      b.op('i64.or');
      b.op('i64.and');
      b.op('i64.eqz');
      b.op('i32.eqz');
      b.when(() => {
        b.get(address);
        b.op('i32.wrap_i64');
        bytes();
        b.call(imports.codeWritten);
      });
    });
  };
  walkOrReturn(b, walk, () => b.get(linear), access, physical, nothing);
  crosses(b, linear, size);
  b.when(() => {
    walkOrReturn(b, walk, () => secondPage(b, linear, size), access, other, nothing);
    emitWatch(b, imports, linear, size, true);
    b.get(size);
    b.i32(16);
    b.op('i32.ne');
    b.when(() => b.setState64(state.SLOW_VECTOR, () => b.get(value)));
    const done = b.block();
    const next = b.loop();
    b.get(index);
    b.get(size);
    b.op('i32.ge_u');
    b.brIf(done);
    byteAddress(b, linear, index, physical, other, at);
    isRam(b, layout, at);
    b.when(
      () => {
        b.get(at);
        b.op('i32.wrap_i64');
        b.get(index);
        b.memory('i32.load8_u', STATE + state.SLOW_VECTOR);
        b.memory('i32.store8', layout.guestOrigin);
        notify(at, () => b.i32(1));
      },
      () => {
        halves(b, at);
        b.i32(1);
        b.get(index);
        b.memory('i32.load8_u', STATE + state.SLOW_VECTOR);
        b.i32(0);
        b.call(imports.mmioWrite);
      },
    );
    b.get(index);
    b.i32(1);
    b.op('i32.add');
    b.set(index);
    b.br(next);
    b.end();
    b.end();
    b.return();
  });
  emitWatch(b, imports, linear, size, true);
  isRam(b, layout, physical);
  b.when(
    () => {
      for (const [bytes, store] of [
        [8, 'i64.store'],
        [4, 'i64.store32'],
        [2, 'i64.store16'],
        [1, 'i64.store8'],
      ] as const) {
        b.get(size);
        b.i32(bytes);
        b.op('i32.eq');
        b.when(() => {
          b.get(physical);
          b.op('i32.wrap_i64');
          b.get(value);
          b.memory(store, layout.guestOrigin);
        });
      }
      b.get(size);
      b.i32(16);
      b.op('i32.eq');
      b.when(() => {
        b.get(physical);
        b.op('i32.wrap_i64');
        b.i32(0);
        b.memory('v128.load', STATE + state.SLOW_VECTOR);
        b.memory('v128.store', layout.guestOrigin);
      });
      notify(physical, () => b.get(size));
    },
    () => {
      b.get(size);
      b.i32(16);
      b.op('i32.eq');
      b.when(
        () => {
          for (const half of [0, 8]) {
            b.get(physical);
            b.i64(BigInt(half));
            b.op('i64.add');
            b.set(at);
            halves(b, at);
            b.i32(8);
            b.state32(state.SLOW_VECTOR + half);
            b.state32(state.SLOW_VECTOR + half + 4);
            b.call(imports.mmioWrite);
          }
        },
        () => {
          halves(b, physical);
          b.get(size);
          halves(b, value);
          b.call(imports.mmioWrite);
        },
      );
    },
  );
  return b;
}
