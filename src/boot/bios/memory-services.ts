/** INT 15h: how much memory there is, told in the three ways that systems ask for it, its move, and gate A20. */
import type { GuestMemory } from '../../memory/memory.ts';
import { type MemoryRange, ramEnd } from '../e820.ts';
import type { Functions } from './bios.ts';
import type { BiosCall } from './call.ts';

/** "SMAP", which the caller of AX=E820h shows and is shown. */
const SMAP = 0x534d4150;
const RANGE_SIZE = 20;
const HIGH_MEMORY = 1 << 20;
const SIXTEEN_MEBIBYTES = 16 << 20;

/** Where in the table of AH=87h the descriptors of source and destination stand, and its length. */
const SOURCE = 0x10;
const DESTINATION = 0x18;
const MOVE_TABLE_SIZE = 0x30;
const MOVE_FAILED = 0x02;
/** AH=87h moves at most 64 KiB, given in words. */
const MOST_WORDS = 0x8000;

const UNSUPPORTED = 0x86;

export function memoryServices(memory: GuestMemory, map: readonly MemoryRange[]): Functions {
  /** KiB of RAM in one piece from 1 MiB on. */
  const high = Math.max(0, ramEnd(map, HIGH_MEMORY) - HIGH_MEMORY) / 1024;
  const refuse = (call: BiosCall): void => {
    call.ah = UNSUPPORTED;
    call.carry = true;
  };

  /** AX=E820h: one range a call; EBX goes on from where the last one was. */
  const nextRange = (call: BiosCall): void => {
    const index = call.ebx;
    if (call.edx !== SMAP || call.ecx < RANGE_SIZE || index >= map.length) return refuse(call);
    const { address, size, type } = map[index];
    const entry = new DataView(new ArrayBuffer(RANGE_SIZE));
    entry.setBigUint64(0, BigInt(address), true);
    entry.setBigUint64(8, BigInt(size), true);
    entry.setUint32(16, type, true);
    if (!call.write(call.esDi, new Uint8Array(entry.buffer))) return refuse(call);
    call.eax = SMAP;
    call.ebx = index + 1 < map.length ? index + 1 : 0;
    call.ecx = RANGE_SIZE;
    call.carry = false;
  };

  /** AX=E801h: KiB between 1 and 16 MiB, and 64 KiB pieces from there on; twice. */
  const sizes = (call: BiosCall): void => {
    const below = Math.min(high, (SIXTEEN_MEBIBYTES - HIGH_MEMORY) / 1024);
    const above = Math.max(0, ramEnd(map, SIXTEEN_MEBIBYTES) - SIXTEEN_MEBIBYTES) / 0x10000;
    call.ax = call.cx = below;
    call.bx = call.dx = above;
    call.carry = false;
  };

  const gate: Readonly<Record<number, (call: BiosCall) => void>> = {
    0: refuse, // It is never closed.
    1: () => {},
    2: call => void (call.al = 1),
    3: call => void (call.bx = 0x0003), // By the keyboard controller and by port 92h.
  };

  return {
    36: call => {
      const service = gate[call.al] ?? refuse;
      call.ah = 0;
      call.carry = false;
      service(call);
    },
    135: call => {
      const table = call.read(call.esSi, MOVE_TABLE_SIZE);
      const length = call.cx * 2;
      const [from, to] = [SOURCE, DESTINATION].map(at => (table ? baseOf(table, at) : -1));
      const possible = call.cx <= MOST_WORDS && memory.has(from, length) && memory.has(to, length);
      if (possible) memory.copyIn(to, memory.copyOut(from, length));
      call.ah = possible ? 0 : MOVE_FAILED;
      call.carry = !possible;
    },
    136: call => {
      call.ax = Math.min(high, 0xffff);
      call.carry = false;
    },
    232: call => {
      if (call.al === 0x20) nextRange(call);
      else if (call.al === 0x01) sizes(call);
      else refuse(call);
    },
  };
}

/** A segment descriptor's base. */
function baseOf(table: Uint8Array, at: number): number {
  const view = new DataView(table.buffer, table.byteOffset + at, 8);
  return view.getUint16(2, true) + view.getUint8(4) * 2 ** 16 + view.getUint8(7) * 2 ** 24;
}
