/**
 * Changes of one L1 entry in WebAssembly: what HYPERVISOR_update_va_mapping does, and HYPERVISOR_mmu_update of one request. They
 * stand for `PageUpdates.modL1` (page-updates.ts), where the checks are explained; whatever it would answer with an error is
 * refused here.
 */
import { NOTES, type PathCode } from '../../paravirt/fast-paths.ts';
import type { Value } from '../../wasm/code.ts';
import { PTE_A, PTE_D, PTE_G, PTE_P, PTE_PS, PTE_RW, PTE_US } from '../../x86/paging.ts';
import { DOMID_SELF } from '../xen/constants.ts';
import * as cells from './cells.ts';
import { NOTED, OWNED, PGT_l1_page_table, PGT_writable_page } from './page-info.ts';
import { L1_DISALLOWED, PTE_HARMLESS, PTE_HIGH_FRAME, PTE_HIGH_GUEST_KERNEL } from './page-table-entry.ts';
import { EVERYWHERE, NOWHERE } from './table-links.ts';

/** A request's command, and bit 2, in which its address must be 0. */
const REQUEST_COMMAND = 7;
const MMU_NORMAL_PT_UPDATE = 0;
const MMU_PT_UPDATE_PRESERVE_AD = 2;
const REQUEST_SIZE = 16;
/** Where update_va_mapping flushes, as its flags have it: here, or everywhere; not a mask that would have to be read. */
const UVMF_FLUSHTYPE_MASK = 3n;
const UVMF_ALL = 4n;

const KERNEL_MARK = BigInt(PTE_HIGH_GUEST_KERNEL) << 32n;
/** Bits whose change gives or takes references. */
const MEANINGFUL = (BigInt(PTE_HIGH_FRAME) << 32n) | BigInt((~PTE_HARMLESS & 0xffffffff) >>> 0);

/** Xen's part of the address space: a guest has nothing there to push, to pass or to fault on. */
const XEN_AREA_START = 0xffff800000000000n;
const XEN_AREA_SIZE = 0x80000000000n;
export function refuseUnlessGuests(path: PathCode, address: Value): void {
  const { code } = path;
  path.refuseIf(code.ltu(code.sub(address, XEN_AREA_START), XEN_AREA_SIZE));
}

export function refuseUnlessCanonical(path: PathCode, address: Value): void {
  const { code } = path;
  path.refuseIf(code.ne(code.sar(code.shl(address, 16), 16), address));
}
/** Where the list of a call of mmu_update or mmuext_op is, if it is `count` long, of the caller's own, and nobody asks how much was done. */
export function listOf(path: PathCode, count: number): Value {
  const { code } = path;
  const lower = (register: 'rsi' | 'r10') => code.narrow(path.get(register));
  path.refuseIf(code.either(code.ne(lower('rsi'), count), code.ne(lower('r10'), DOMID_SELF)));
  path.refuseIf(code.ne(path.get('rdx'), 0));
  const list = path.get('rdi');
  refuseUnlessGuests(path, list);
  return list;
}

/** What the hypervisor keeps of each frame. */
export class Frames {
  readonly #path: PathCode;
  constructor(path: PathCode) {
    this.#path = path;
  }
  #word(array: number, frame: Value): Value {
    const { code, pages } = this.#path;
    return this.#path.notes(code.add(code.shl(frame, 2), array * pages));
  }
  #byte(array: number, frame: Value): Value {
    const { code, pages } = this.#path;
    return this.#path.notes(code.add(frame, array * pages));
  }
  word(array: 'references' | 'typeCount' | 'first' | 'second', frame: Value): Value {
    return this.#path.code.fetch('i32.load', this.#word(NOTED[array], frame), 0, NOTES);
  }
  add(array: 'references' | 'typeCount', frame: Value, amount: number): void {
    const { code } = this.#path;
    code.put('i32.store', this.#word(NOTED[array], frame), code.add(this.word(array, frame), amount), 0, NOTES);
  }
  byte(array: 'type' | 'flags', frame: Value): Value {
    return this.#path.code.fetch('i32.load8_u', this.#byte(NOTED[array], frame), 0, NOTES);
  }
  setType(frame: Value, type: number): void {
    this.#path.code.put('i32.store8', this.#byte(NOTED.type, frame), type, 0, NOTES);
  }
  refuseUnlessFrame(frame: Value): void {
    this.#path.refuseIf(this.#path.code.geu(frame, this.#path.pages));
  }
  /** Refuses what is in use as something else, or not at all. */
  refuseUnlessTyped(frame: Value, type: number): void {
    const { code } = this.#path;
    this.#path.refuseIf(code.no(this.word('typeCount', frame)));
    this.#path.refuseIf(code.ne(this.byte('type', frame), type));
  }
}

const frameOf = ({ code }: PathCode, entry: Value): Value => code.narrow(code.shr(entry, 12));
const bit = ({ code }: PathCode, entry: Value, mask: number | bigint): Value => code.any(entry, BigInt(mask));

/** HYPERVISOR_mmu_update of one request, of an entry of an L1 table. */
export function mmuUpdate(path: PathCode): void {
  const { code } = path;
  const frames = new Frames(path);
  const request = path.reach(listOf(path, 1), REQUEST_SIZE, 'read');
  const pointer = code.variable(code.fetch('i64.load', request)).last();
  const value = code.variable(code.fetch('i64.load', request, 8)).last();
  const command = code.and(code.narrow(pointer), REQUEST_COMMAND);
  const preserves = code.variable(code.eq(command, MMU_PT_UPDATE_PRESERVE_AD)).last();
  path.refuseIf(code.no(code.either(preserves, code.eq(command, MMU_NORMAL_PT_UPDATE))));
  path.refuseIf(code.geu(pointer, BigInt(path.pages) << 12n));
  const table = code.variable(frameOf(path, pointer)).last();
  path.refuseIf(code.no(code.and(frames.byte('flags', table), OWNED)));
  frames.refuseUnlessTyped(table, PGT_l1_page_table);
  change(path, frames, table, code.and(code.shr(code.narrow(pointer), 3), 511), value, preserves);
}

/** HYPERVISOR_update_va_mapping. */
export function updateVaMapping(path: PathCode): void {
  const { code } = path;
  const frames = new Frames(path);
  const linear = path.get('rdi');
  refuseUnlessCanonical(path, linear);
  const where = code.and(path.get('rdx'), ~UVMF_FLUSHTYPE_MASK);
  path.refuseIf(code.no(code.either(code.eqz(where), code.eq(where, UVMF_ALL))));
  path.refuseIf(path.cell(cells.LINEAR_ENTRIES));
  const l1 = tableFor(path, frames, linear);
  change(path, frames, l1, entryNumber(path, linear), path.get('rsi'), code.i32(0));
}

const entryNumber = ({ code }: PathCode, linear: Value): Value => code.and(code.narrow(code.shr(linear, 12)), 511);

/** The frame of the L1 table that translates a canonical address for the guest's kernel. */
function tableFor(path: PathCode, frames: Frames, linear: Value): Value {
  const { code } = path;
  const table = code.variable(path.cell(cells.KERNEL_ROOT));
  for (const shift of [39, 30, 21]) {
    frames.refuseUnlessFrame(table.get());
    const index = code.and(code.narrow(code.shr(linear, shift)), 511);
    const at = path.physical(code.add(code.shl(table.get(), 12), code.shl(index, 3)));
    const entry = code.fetch('i32.load', at);
    path.refuseIf(code.ne(code.and(entry, shift === 39 ? PTE_P : PTE_P | PTE_PS), PTE_P));
    table.set(code.shr(entry, 12));
  }
  const l1 = table.last();
  frames.refuseUnlessFrame(l1);
  frames.refuseUnlessTyped(l1, PGT_l1_page_table);
  return l1;
}

/** XCHG of a 64-bit register and memory: the opcode, behind REX.W; its R and B are the fourth bits of ModRM's reg and rm. */
const REX_W = 0x48;
const REX_R = 4;
const REX_B = 1;
const XCHG = 0x87;
const RSP = 4;
const RBP = 5;
/** A SIB byte of nothing but the base RSP or R12. */
const SIB_BASE = 0x24;
/** Bytes of the longest form that is known: with a SIB byte and a displacement of 8 bits. */
const LONGEST_XCHG = 5;

/**
 * XCHG that clears an L1 entry, at `linear` in a table that the guest sees read-only: so Linux takes entries away. It stands for
 * `completeTableWrite` (writable-page-tables.ts).
 */
export function clearEntry(path: PathCode, linear: Value): void {
  const { code } = path;
  const frames = new Frames(path);
  refuseUnlessCanonical(path, linear);
  const { register, length } = exchange(path, linear);
  const value = code.variable(path.general(register)).last();
  path.refuseIf(bit(path, value, PTE_P));

  const shown = code.add(code.shl(tableFor(path, frames, linear), 12), code.shl(entryNumber(path, linear), 3));
  const view = code.variable(code.fetch('i64.load', path.physical(shown))).last();
  // A first write would make it dirty.
  const isKnown = code.eq(code.and(view, BigInt(PTE_P | PTE_RW | PTE_A | PTE_D)), BigInt(PTE_P | PTE_A | PTE_D));
  path.refuseIf(code.either(code.no(isKnown), bit(path, view, BigInt(PTE_HIGH_FRAME) << 32n)));
  const table = code.variable(frameOf(path, view)).last();
  frames.refuseUnlessFrame(table);
  frames.refuseUnlessTyped(table, PGT_l1_page_table);
  const index = code.variable(code.and(code.shr(code.narrow(linear), 3), 511)).last();
  const at = path.physical(code.add(code.shl(table, 12), code.shl(index, 3)));
  const old = code.variable(code.fetch('i64.load', at)).last();
  change(path, frames, table, index, value, code.i32(0));
  path.setGeneral(register, old);
  path.set('rip', code.add(path.get('rip'), code.wide(length)));
}

/** The instruction at RIP, if it is XCHG of a register and the 8 bytes at `linear`: the register's number, and its length. */
function exchange(path: PathCode, linear: Value): { register: Value; length: Value } {
  const { code } = path;
  const at = code.variable(path.reach(path.get('rip'), LONGEST_XCHG, 'execute')).last();
  const byte = (offset: number) => code.fetch('i32.load8_u', at, offset);
  const rex = code.variable(byte(0)).last();
  path.refuseIf(code.ne(code.and(rex, ~(REX_R | REX_B)), REX_W));
  path.refuseIf(code.ne(byte(1), XCHG));
  const modrm = code.variable(byte(2)).last();
  path.refuseIf(code.gtu(modrm, 0x7f));
  const hasDisplacement = code.variable(code.shr(modrm, 6)).last();
  const rm = code.variable(code.and(modrm, 7)).last();
  // Relative to RIP.
  path.refuseIf(code.both(code.no(hasDisplacement), code.eq(rm, RBP)));
  const hasSib = code.variable(code.eq(rm, RSP)).last();
  path.refuseIf(code.both(hasSib, code.ne(byte(3), SIB_BASE)));
  const base = path.general(code.or(rm, code.shl(code.and(rex, REX_B), 3)));
  const behind = code.fetch('i64.load8_s', code.add(at, hasSib), 3);
  const address = code.add(base, code.select(hasDisplacement, behind, 0n));
  // Within an entry, and so in one page.
  path.refuseIf(code.either(code.ne(address, linear), code.any(linear, 7n)));
  return {
    register: code.variable(code.or(code.and(code.shr(modrm, 3), 7), code.shl(code.and(rex, REX_R), 1))).last(),
    length: code.variable(code.add(code.add(hasSib, hasDisplacement), 3)).last(),
  };
}

/** Entry `index` of L1 table `table` becomes `given`. @param preserves the accessed and dirty flags stay */
function change(path: PathCode, frames: Frames, table: Value, index: Value, given: Value, preserves: Value): void {
  const { code } = path;
  const number = code.variable(index).last();
  const value = code.variable(given).last();
  const at = code.variable(path.physical(code.add(code.shl(table, 12), code.shl(number, 3)))).last();
  const old = code.variable(code.fetch('i64.load', at)).last();
  const present = code.variable(bit(path, value, PTE_P)).last();
  const wasPresent = code.variable(bit(path, old, PTE_P)).last();
  const differs = code.no(code.both(present, code.none(code.xor(value, old), MEANINGFUL)));
  const takes = code.variable(code.both(present, differs)).last();
  const gives = code.variable(code.both(wasPresent, differs)).last();
  const [target, former] = [value, old].map(entry => code.variable(frameOf(path, entry)).last()) as [Value, Value];
  path.refuseIf(code.both(present, bit(path, value, L1_DISALLOWED)));
  code.when(takes, () => {
    path.refuseIf(bit(path, value, BigInt(PTE_HIGH_FRAME) << 32n));
    frames.refuseUnlessFrame(target);
    path.refuseIf(code.no(code.and(frames.byte('flags', target), OWNED)));
    code.when(code.both(bit(path, value, PTE_RW), code.ne(frames.word('typeCount', target), 0)), () =>
      path.refuseIf(code.ne(frames.byte('type', target), PGT_writable_page)),
    );
  });
  code.when(gives, () => {
    frames.refuseUnlessFrame(former);
    // The last reference would free the frame.
    path.refuseIf(code.leu(frames.word('references', former), 1));
    code.when(bit(path, old, PTE_RW), () => frames.refuseUnlessTyped(former, PGT_writable_page));
  });
  const user = code.select(bit(path, value, KERNEL_MARK), BigInt(PTE_US), BigInt(PTE_G));
  const lifted = code.or(value, code.select(bit(path, value, PTE_US), user, BigInt(PTE_US) | KERNEL_MARK));
  const kept = code.select(preserves, code.and(old, BigInt(PTE_A | PTE_D)), 0n);
  const stored = code.variable(code.select(present, code.or(lifted, kept), value)).last();
  const drops = code.variable(code.both(wasPresent, code.either(gives, code.ne(stored, old))));
  const page = code.variable(code.wide(number));
  code.when(drops.get(), () => climb(path, frames, table, page, drops));
  // Nothing refuses from here on.
  code.when(takes, () => {
    frames.add('references', target, 1);
    code.when(bit(path, value, PTE_RW), () => {
      code.when(code.no(frames.word('typeCount', target)), () => frames.setType(target, PGT_writable_page));
      frames.add('typeCount', target, 1);
    });
  });
  code.put('i64.store', at, stored);
  code.when(drops.get(), () => path.invalidatePage(code.sar(code.shl(page.get(), 28), 16)));
  code.when(gives, () => {
    code.when(bit(path, old, PTE_RW), () => frames.add('typeCount', former, -1));
    frames.add('references', former, -1);
  });
}

/**
 * The page number that the entry translates, of which `page` is the lowest part (`TableLinks.pages`); `drops` is cleared where it
 * translates nothing. Refuses more than one page, and a machine with several processors.
 */
function climb(
  path: PathCode,
  frames: Frames,
  table: Value,
  page: ReturnType<PathCode['code']['variable']>,
  drops: ReturnType<PathCode['code']['variable']>,
): void {
  const { code } = path;
  path.refuseIf(code.no(path.cell(cells.ALONE)));
  const child = code.variable(table);
  code.block(done => {
    for (const level of [1, 2, 3]) {
      const first = code.variable(frames.word('first', child.get())).last();
      const second = code.variable(frames.word('second', child.get())).last();
      path.refuseIf(code.eq(first, EVERYWHERE | 0));
      code.when(code.eq(first, NOWHERE | 0), () => {
        drops.set(0);
        done();
      });
      const isOther = code.ne(second, NOWHERE | 0);
      // Two roots may have the table in the same slot.
      const elsewhere = level === 3 ? code.any(code.xor(first, second), 511) : code.i32(1);
      path.refuseIf(code.both(isOther, elsewhere));
      page.add(code.shl(code.wide(code.and(first, 511)), 9 * level));
      child.set(code.shr(first, 9));
    }
  });
}
