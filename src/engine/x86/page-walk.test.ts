/** The page walk against one in JavaScript written after the same pages (SDM 3A 4.3-4.8), on random tables of all formats. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CR0_PG, CR0_WP, CR4_PAE, CR4_PSE, CR4_SMAP, CR4_SMEP, EFER_LMA, EFER_NXE } from '../../x86/control.ts';
import { AC } from '../../x86/flags.ts';
import { Engine } from '../engine.ts';
import {
  ACCESS_EXECUTE,
  ACCESS_IMPLICIT,
  ACCESS_NO_SIDE_EFFECT,
  ACCESS_PROBE,
  ACCESS_QUIET,
  ACCESS_USER,
  ACCESS_WRITE,
} from './access.ts';
import type { Cpu } from './cpu.ts';
import { state } from './state.ts';

const RAM = 1 << 20;
const ROOT = 0x1000;
const P = 1n;
const RW = 2n;
const US = 4n;
const A = 0x20n;
const D = 0x40n;
const PS = 0x80n;
const XD = 1n << 63n;

type Mode = 'two levels' | 'PAE' | 'long mode';
const MODES: readonly Mode[] = ['two levels', 'PAE', 'long mode'];

interface Processor {
  mode: Mode;
  cr0: number;
  cr4: number;
  efer: number;
  cpl: number;
  ac: boolean;
}
type Found = { physical: bigint } | { code: number } | 'not canonical';

/** Reads and writes entries in a copy of RAM. */
function referenceWalk(ram: DataView, processor: Processor, linear: bigint, access: number): Found {
  const { mode, cr0, cr4, efer } = processor;
  const long = mode === 'long mode';
  const bytes = mode === 'two levels' ? 4 : 8;
  const bits = bytes === 4 ? 10n : 9n;
  if (long && BigInt.asIntN(48, linear) !== BigInt.asIntN(64, linear)) return 'not canonical';
  const implicit = (access & ACCESS_IMPLICIT) !== 0;
  const user = !implicit && (processor.cpl === 3 || (access & ACCESS_USER) !== 0);
  const fetches = (access & ACCESS_EXECUTE) !== 0;
  const writes = (access & ACCESS_WRITE) !== 0;
  const tellsFetches = (efer & EFER_NXE) !== 0 || (cr4 & CR4_SMEP) !== 0;
  const code = (writes ? 2 : 0) | (user ? 4 : 0) | (fetches && tellsFetches ? 16 : 0);
  const looks = (access & ACCESS_NO_SIDE_EFFECT) !== 0;
  let table = BigInt(ROOT);
  let [rw, us, xd] = [true, true, false];
  const top = long ? 3 : mode === 'PAE' ? 2 : 1;
  for (let level = top; ; level--) {
    const shift = 12n + bits * BigInt(level);
    const at = table + ((linear >> shift) & ((1n << bits) - 1n)) * BigInt(bytes);
    if (at + BigInt(bytes) > BigInt(RAM)) return { code };
    const place = Number(at);
    const entry = bytes === 4 ? BigInt(ram.getUint32(place, true)) : ram.getBigUint64(place, true);
    const flag = (bit: bigint) => (entry & bit) !== 0n;
    if (!flag(P)) return { code };
    const reserved = { code: code | 9 };
    if (bytes === 8 && (entry & 0x000fff0000000000n || (flag(XD) && !(efer & EFER_NXE)))) return reserved;
    const pointers = mode === 'PAE' && level === 2;
    const large = !pointers && level > 0 && flag(PS) && (bytes === 8 || (cr4 & CR4_PSE) !== 0);
    if (large && level === 3) return reserved;
    if (large && bytes === 8 && entry & ((1n << shift) - 1n) & ~0x1fffn) return reserved;
    if (!pointers) {
      rw &&= flag(RW);
      us &&= flag(US);
      xd ||= flag(XD);
    }
    const set = (flags: bigint): boolean => {
      if ((entry & flags) === flags) return true;
      if (looks) return false;
      ram.setUint8(place, Number((entry | flags) & 0xffn));
      return true;
    };
    if (level > 0 && !large) {
      if (!pointers && !set(A)) return { code: code | 1 };
      table = entry & (bytes === 4 ? 0xfffff000n : 0xfffffff000n);
      continue;
    }
    const smap = us && (cr4 & CR4_SMAP) !== 0 && (implicit || !processor.ac);
    const smep = us && (cr4 & CR4_SMEP) !== 0;
    const readable = user ? us : !smap;
    const writable = user ? us && rw : !smap && (rw || !(cr0 & CR0_WP));
    const executable = user ? us && !xd : !smep && !xd;
    if (!(fetches ? executable : writes ? writable : readable)) return { code: code | 1 };
    if (!set(writes ? A | D : A)) return { code: code | 1 };
    const size = 1n << shift;
    let page = entry & (bytes === 4 ? 0xfffff000n : 0xfffffff000n) & -size;
    if (bytes === 4 && large) page |= ((entry >> 13n) & 0xffn) << 32n;
    return { physical: page | (linear & (size - 1n)) };
  }
}

/** Numbers that look random and are the same each time (Numerical Recipes' generator). */
function generator(seed: number): (limit: number) => number {
  let x = seed;
  return limit => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return Math.floor((x / 2 ** 32) * limit);
  };
}

function setUp(cpu: Cpu, { mode, cr0, cr4, efer, cpl, ac }: Processor): void {
  cpu.set64(state.CR0, BigInt(cr0 + CR0_PG));
  cpu.set64(state.CR4, BigInt(cr4 | (mode === 'two levels' ? 0 : CR4_PAE)));
  cpu.set64(state.EFER, BigInt(efer | (mode === 'long mode' ? EFER_LMA : 0)));
  cpu.set64(state.CR3, BigInt(ROOT));
  cpu.set32(state.CPL, cpl);
  cpu.set32(state.FLAGS_REST, ac ? AC | 2 : 2);
}
function walk(cpu: Cpu, linear: bigint, access: number): Found {
  cpu.set32(state.FAULT, 0);
  const physical = cpu.functions.walk(linear, access | ACCESS_PROBE);
  if (physical >= 0n) return { physical };
  if (access & ACCESS_QUIET) return { code: cpu.get32(state.PHYSICAL) };
  if (cpu.get32(state.FAULT) === (13 | 0x100)) return 'not canonical';
  assert.equal(cpu.get32(state.FAULT), 14 | 0x100);
  return { code: cpu.get32(state.FAULT_CODE) };
}

describe('the page walk', () => {
  for (const mode of MODES)
    test(`${mode}: finds what the manual says, sets the same flags, and faults with the same code`, () => {
      const next = generator(MODES.indexOf(mode) + 1);
      const chance = (share: number) => next(1000) < share * 1000;
      const engine = new Engine(RAM, { jit: false });
      const { cpu, memory } = engine;
      const outcomes = new Map<string, number>();
      for (let round = 0; round < 25; round++) {
        const bytes = mode === 'two levels' ? 4 : 8;
        const tables = new DataView(new ArrayBuffer(RAM));
        for (let at = ROOT; at < 0x10000; at += bytes) {
          const page = chance(0.02) ? RAM + 4096 : 4096 * (1 + next(15));
          let entry = BigInt(chance(0.05) ? 4096 * next(RAM / 4096) : page);
          for (const [bit, share] of [
            [P, 0.97],
            [RW, 0.8],
            [US, 0.7],
            [A, 0.6],
            [D, 0.5],
            [PS, 0.1],
            [0x100n, 0.3],
          ] as const)
            if (chance(share)) entry |= bit;
          if (entry & PS && chance(0.8)) entry &= ~0x3ff000n;
          if (bytes === 4) tables.setUint32(at, Number(entry), true);
          else {
            if (chance(0.1)) entry |= XD;
            if (chance(0.01)) entry |= 1n << BigInt(40 + next(12));
            tables.setBigUint64(at, entry, true);
          }
        }
        memory.copyIn(0, new Uint8Array(tables.buffer));
        for (let i = 0; i < 250; i++) {
          const processor: Processor = {
            mode,
            cr0: chance(0.5) ? CR0_WP : 0,
            cr4: (chance(0.7) ? CR4_PSE : 0) | (chance(0.5) ? CR4_SMEP : 0) | (chance(0.5) ? CR4_SMAP : 0),
            efer: chance(0.7) ? EFER_NXE : 0,
            cpl: chance(0.5) ? 3 : 0,
            ac: chance(0.5),
          };
          setUp(cpu, processor);
          let linear = BigInt(next(2 ** 32));
          if (mode === 'long mode') linear |= BigInt(next(chance(0.9) ? 2 ** 15 : 2 ** 32)) << 32n;
          const access =
            [0, ACCESS_WRITE, ACCESS_EXECUTE][next(3)]! |
            (chance(0.2) ? ACCESS_IMPLICIT : 0) |
            (chance(0.2) ? ACCESS_USER : 0) |
            (chance(0.3) ? ACCESS_NO_SIDE_EFFECT | ACCESS_QUIET : 0);
          const wanted = referenceWalk(tables, processor, linear, access);
          if (wanted === 'not canonical' && access & ACCESS_QUIET) continue;
          const found = walk(cpu, linear, access);
          const what = { processor, linear: linear.toString(16), access };
          assert.deepEqual({ ...what, found }, { ...what, found: wanted });
          const outcome = typeof wanted === 'string' ? wanted : 'code' in wanted ? `code ${wanted.code}` : 'found';
          outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
        }
        assert.ok(Buffer.from(memory.bytes.subarray(0, RAM)).equals(Buffer.from(tables.buffer)), 'the tables differ');
      }
      assert.ok((outcomes.get('found') ?? 0) > 1000, `too few were found: ${JSON.stringify([...outcomes])}`);
      assert.ok(outcomes.size > 10, `too few kinds of faults: ${JSON.stringify([...outcomes])}`);
    });

  test('a look for code leaves every flag of the tables as it is, in tables of every format', () => {
    for (const mode of MODES) {
      const engine = new Engine(RAM, { jit: false });
      const { cpu, memory } = engine;
      setUp(cpu, { mode, cr0: 0, cr4: 0, efer: 0, cpl: 0, ac: false });
      const bytes = mode === 'two levels' ? 4 : 8;
      // Each table's first entry leads to the next one; the last maps page 0x8000. None has been accessed.
      const levels = { 'two levels': 2, PAE: 3, 'long mode': 4 }[mode];
      for (let level = 0; level < levels; level++) {
        const entry = BigInt(level === levels - 1 ? 0x8000 : ROOT + 0x1000 * (level + 1)) | P;
        const view = new DataView(new ArrayBuffer(8));
        view.setBigUint64(0, entry, true);
        memory.copyIn(ROOT + 0x1000 * level, new Uint8Array(view.buffer, 0, bytes));
      }
      const before = memory.bytes.slice(0, 0x8000);
      const look = ACCESS_EXECUTE | ACCESS_QUIET | ACCESS_NO_SIDE_EFFECT;
      assert.ok('code' in (walk(cpu, 0x123n, look) as { code: number }), mode);
      assert.deepEqual(memory.bytes.slice(0, 0x8000), before, mode);
      assert.deepEqual(walk(cpu, 0x123n, ACCESS_EXECUTE), { physical: 0x8123n }, mode);
      assert.deepEqual(walk(cpu, 0x123n, look), { physical: 0x8123n }, mode);
    }
  });
});
