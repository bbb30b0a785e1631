/**
 * Address translation as a WebAssembly function: a boot misses the TLB millions of times. SDM 3A chapter 4; access
 * rights 4.6; error codes 4.7; accessed and dirty flags 4.8.
 */

import type { Jump, Value, Variable } from '../../wasm/code.ts';
import { Body } from '../../wasm/module.ts';
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
import { PAGE_SHIFT, PAGE_SIZE, PTE_A, PTE_D, PTE_G, PTE_P, PTE_PS, PTE_RW, PTE_US } from '../../x86/paging.ts';
import { GP, PAGE_FAULT_P, PAGE_FAULT_RSVD, PF } from '../../x86/vectors.ts';
import type { Layout } from '../layout.ts';
import {
  ACCESS_EXECUTE,
  ACCESS_IMPLICIT,
  ACCESS_NO_SIDE_EFFECT,
  ACCESS_PROBE,
  ACCESS_QUIET,
  ACCESS_USER,
  ACCESS_WRITE,
} from './access.ts';
import { ProcessorCode } from './code.ts';
import { state } from './state.ts';
import { fillEntry } from './tlb-fill.ts';

// Bits of a table's entry as 64 bits have them.
const PRESENT = BigInt(PTE_P);
const ACCESSED = BigInt(PTE_A);
const DIRTY = BigInt(PTE_D);
const WRITABLE_SHIFT = Math.log2(PTE_RW);
const USER_SHIFT = Math.log2(PTE_US);
const NO_EXECUTE_SHIFT = 63;

/** A format of tables (SDM 3A 4.3, 4.4, 4.5). Level 0 is the one whose entries map pages of 4 KiB. */
export interface Format {
  /** log2 of an entry's size in bytes, and of the number of entries in a table. */
  readonly entryBits: number;
  readonly indexBits: number;
  /** The level of the table that CR3 points to. */
  readonly top: number;
  /** The address in CR3. */
  readonly root: bigint;
  /** The address in an entry. */
  readonly address: bigint;
  /** Bits that are reserved in all entries. */
  readonly reserved: bigint;
  /** The top level has neither rights nor accessed flags. */
  readonly plainTop: boolean;
  /** Levels whose entries may map large pages, with the bits reserved in those. */
  readonly large: Readonly<Record<number, bigint>>;
  /** Levels where the page-size bit is reserved. */
  readonly noLarge: readonly number[];
}

// MAXPHYADDR is 40: bits 40-51 of an entry are reserved.
const PHYSICAL = 0x000000fffffff000n;
export const LONG: Format = {
  entryBits: 3,
  indexBits: 9,
  top: 3,
  root: PHYSICAL,
  address: PHYSICAL,
  reserved: 0x000fff0000000000n,
  plainTop: false,
  // The address bits below the page's size, PAT (bit 12) excepted.
  large: { 1: 0x1fe000n, 2: 0x3fffe000n },
  noLarge: [3],
};
export const PAE: Format = { ...LONG, top: 2, root: 0xffffffe0n, plainTop: true, large: { 1: 0x1fe000n }, noLarge: [] };
/** Large pages exist with CR4.PSE only; their bits 13-20 are address bits 32-39 (PSE-36). */
export const TWO_LEVELS: Format = {
  entryBits: 2,
  indexBits: 10,
  top: 1,
  root: 0xfffff000n,
  address: 0xfffff000n,
  reserved: 0n,
  plainTop: false,
  large: { 1: 0n },
  noLarge: [],
};

/** What a walk has come to. */
interface Walk {
  readonly b: ProcessorCode;
  readonly layout: Layout;
  readonly linear: Variable;
  readonly access: Value;
  /** The page-fault error code. */
  readonly code: Variable;
  readonly fault: Jump;
  /** The entry that maps the page, and where it stands in the WebAssembly memory. */
  readonly entry: Variable;
  readonly place: Variable;
  /**
   * The entries of all levels: and-ed (WRITABLE and USER hold if they do at each), or-ed (NO_EXECUTE holds if it does
   * at any).
   */
  readonly all: Variable;
  readonly some: Variable;
  readonly physical: Variable;
  /** Where a table lies whose address is in CR3 or in an entry: guest-physical. */
  readonly tableAddress: (address: Value) => Value;
}

/**
 * (linear i64, access i32) -> physical i64, or -1 with FAULT set. PHYSICAL then holds the error code, otherwise the
 * address.
 */
export function walkBody(layout: Layout): Body {
  const b = new ProcessorCode(new Body(['i64', 'i32'], ['i64']));
  const [given, access] = b.parameters(2);
  const linear = b.variable(given);
  const explicit = b.none(access, ACCESS_IMPLICIT);
  const isUser = b.both(b.either(b.eq(b.state32(state.CPL), 3), b.any(access, ACCESS_USER)), explicit);
  const code = b.variable(b.or(b.and(access, ACCESS_WRITE | ACCESS_EXECUTE), b.shl(isUser, 2)));
  const physical = b.variable(given);
  const [readable, writable, executable] = [1, 1, 1].map(yes => b.variable(b.i32(yes))) as [
    Variable,
    Variable,
    Variable,
  ];
  const global = b.variable(b.i32(0));
  b.block(fault => {
    // Without paging, linear addresses are physical ones.
    b.when(b.flag(state.CR0, CR0_PG), () => {
      const walk: Walk = {
        b,
        layout,
        linear,
        access,
        code,
        fault,
        physical,
        entry: b.variable(b.const(0)),
        place: b.variable(b.i32(0)),
        all: b.variable(b.const(-1)),
        some: b.variable(b.const(0)),
        tableAddress: address => address,
      };
      emitTables(walk);
      emitRights(walk, isUser, { readable, writable, executable });
      const asked = b.select(
        b.and(access, ACCESS_EXECUTE),
        executable.get(),
        b.select(b.and(access, ACCESS_WRITE), writable.get(), readable.get()),
      );
      b.when(b.no(asked), () => {
        // Vcpu.stepWithWritable: one instruction may write here.
        const page = b.and(linear.get(), BigInt(-PAGE_SIZE));
        const excepted = b.both(b.any(access, ACCESS_WRITE), b.eq(page, b.state(state.WRITABLE_PAGE)));
        fault(b.no(b.both(readable.get(), excepted)));
        writable.set(1);
      });
      emitAccessed(walk);
      // Without the dirty flag, the first write must come here.
      writable.set(b.both(writable.get(), b.any(walk.entry.get(), DIRTY)));
      global.set(b.both(b.any(walk.entry.get(), BigInt(PTE_G)), b.flag(state.CR4, CR4_PGE)));
    });
    b.when(b.none(access, ACCESS_PROBE), () =>
      fillEntry(b, layout, {
        linear: linear.get(),
        physical: physical.get(),
        readable: readable.get(),
        writable: writable.get(),
        executable: executable.get(),
        global: global.get(),
      }),
    );
    b.setState(state.PHYSICAL, physical.get());
    b.answer(physical.get());
  });
  emitFault(b, access, linear, code);
  return b.complete();
}

/** Walks the tables that the processor's mode has. */
function emitTables(walk: Walk): void {
  const { b, linear, access } = walk;
  b.when(
    b.flag(state.EFER, EFER_LMA),
    () => {
      const x = linear.get();
      const isCanonical = b.eq(b.sar(b.shl(x, 16), 16), x);
      b.when(b.no(isCanonical), () => {
        b.when(b.none(access, ACCESS_QUIET), () => raise(b, GP, 0));
        b.answer(-1);
      });
      emitLevels(walk, LONG);
    },
    () =>
      b.when(
        b.flag(state.CR4, CR4_PAE),
        () => emitLevels(walk, PAE),
        () => {
          linear.set(b.and(linear.get(), 0xffffffffn));
          emitLevels(walk, TWO_LEVELS);
        },
      ),
  );
}

/**
 * Walks down tables of one format to the entry that maps the page. The code of each level stands for itself: no loop.
 */
function emitLevels(walk: Walk, format: Format): void {
  const { b, layout, linear, access, code, fault, all, some } = walk;
  const { top, entryBits, indexBits } = format;
  const refuse = (condition: Value) =>
    b.when(condition, () => {
      code.set(b.or(code.get(), PAGE_FAULT_RSVD));
      fault();
    });
  b.block(found => {
    let table = b.and(b.state(state.CR3), format.root);
    for (let level = top; level >= 0; level--) {
      const index = b.and(b.shr(linear.get(), PAGE_SHIFT + indexBits * level), (1n << BigInt(indexBits)) - 1n);
      const at = walk.tableAddress(b.add(table, b.shl(index, entryBits)));
      // Not present, whatever the levels above were. A table outside of RAM has nothing present.
      code.set(b.and(code.get(), ~PAGE_FAULT_P));
      fault(b.gtu(at, BigInt(layout.ramSize - (1 << entryBits))));
      const place = b.add(b.narrow(at), layout.guestOrigin);
      const entry = b.fetch(entryBits === 3 ? 'i64.load' : 'i64.load32_u', place);
      fault(b.none(entry, PRESENT));
      code.set(b.or(code.get(), PAGE_FAULT_P));
      if (format.reserved) {
        refuse(b.any(entry, format.reserved));
        refuse(b.both(b.lts(entry, 0), b.none(b.state32(state.EFER), EFER_NXE)));
      }
      const isPlain = format.plainTop && level === top;
      if (!isPlain) {
        all.set(b.and(all.get(), entry));
        some.set(b.or(some.get(), entry));
      }
      if (format.noLarge.includes(level)) refuse(b.any(entry, BigInt(PTE_PS)));
      const reservedInLarge = format.large[level];
      if (reservedInLarge !== undefined)
        b.when(isLarge(walk, format, entry), () => {
          if (reservedInLarge) refuse(b.any(entry, reservedInLarge));
          emitPage(walk, format, level, entry, place);
          found();
        });
      if (level === 0) emitPage(walk, format, level, entry, place);
      else if (!isPlain)
        b.when(b.none(entry, ACCESSED), () => {
          fault(b.any(access, ACCESS_NO_SIDE_EFFECT));
          // The flag lies in the low byte, in entries of both sizes.
          b.put('i64.store8', place, b.or(entry, ACCESSED));
        });
      table = b.and(entry, format.address);
    }
  });
}
function isLarge({ b }: Walk, format: Format, entry: Value): Value {
  const large = b.any(entry, BigInt(PTE_PS));
  return format === TWO_LEVELS ? b.both(large, b.flag(state.CR4, CR4_PSE)) : large;
}
/** `entry` maps the page. */
function emitPage({ b, linear, ...walk }: Walk, format: Format, level: number, entry: Value, place: Value): void {
  const size = 1n << BigInt(PAGE_SHIFT + format.indexBits * level);
  const page = b.or(b.and(entry, format.address & -size), b.and(linear.get(), size - 1n));
  const isPse36 = format === TWO_LEVELS && level > 0;
  walk.physical.set(isPse36 ? b.or(page, b.shl(b.and(b.shr(entry, 13), 0xff), 32)) : page);
  walk.entry.set(entry);
  walk.place.set(place);
}

type Rights = Record<'readable' | 'writable' | 'executable', Variable>;
/** What may be done with the page (SDM 3A 4.6). */
function emitRights({ b, access, all, some }: Walk, isUser: Value, rights: Rights): void {
  const everywhere = (shift: number) => b.narrow(b.and(b.shr(all.get(), shift), 1));
  const user = everywhere(USER_SHIFT);
  const writable = everywhere(WRITABLE_SHIFT);
  const noExecute = b.narrow(b.shr(some.get(), NO_EXECUTE_SHIFT));
  b.when(
    isUser,
    () => {
      rights.readable.set(user);
      rights.writable.set(b.both(user, writable));
      rights.executable.set(b.both(user, b.no(noExecute)));
    },
    () => {
      // SMAP: no data access to user pages unless RFLAGS.AC is set, and never an implicit one.
      const excepted = b.both(b.flag(state.FLAGS_REST, AC), b.none(access, ACCESS_IMPLICIT));
      const barred = b.both(b.both(user, b.flag(state.CR4, CR4_SMAP)), b.no(excepted));
      rights.readable.set(b.no(barred));
      const unprotected = b.none(b.state32(state.CR0), CR0_WP);
      rights.writable.set(b.both(b.either(writable, unprotected), b.no(barred)));
      rights.executable.set(b.no(b.either(b.both(user, b.flag(state.CR4, CR4_SMEP)), noExecute)));
    },
  );
}
/** Sets the page's accessed flag and, for a write, its dirty flag. */
function emitAccessed({ b, access, entry, place, fault }: Walk): void {
  const flags = b.select(b.and(access, ACCESS_WRITE), ACCESSED | DIRTY, ACCESSED);
  b.when(b.ne(b.and(entry.get(), flags), flags), () => {
    fault(b.any(access, ACCESS_NO_SIDE_EFFECT));
    entry.set(b.or(entry.get(), flags));
    b.put('i64.store8', place.get(), entry.get());
  });
}

function raise(b: ProcessorCode, vector: number, code: Value | number): void {
  b.setState32(state.FAULT, vector | 0x100);
  b.setState32(state.FAULT_CODE, code);
}
/** #PF, or its error code alone. */
function emitFault(b: ProcessorCode, access: Value, linear: Variable, code: Variable): void {
  // The error code tells of instruction fetches only with NX or SMEP on.
  const tellsFetches = b.either(b.flag(state.EFER, EFER_NXE), b.flag(state.CR4, CR4_SMEP));
  b.when(b.no(tellsFetches), () => code.set(b.and(code.get(), ~ACCESS_EXECUTE)));
  b.when(b.none(access, ACCESS_QUIET), () => {
    raise(b, PF, code.get());
    b.setState(state.CR2, linear.get());
  });
  b.setState32(state.PHYSICAL, code.get());
  b.answer(-1);
}
