import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRandom } from '../../conformance/random.ts';
import { PTE_P, PTE_RW } from '../../x86/paging.ts';
import { EFAULT, EINVAL, ENODEV, ENOSYS, EPERM, ESRCH } from '../xen/constants.ts';
import { ARGUMENT_FRAME, ARGUMENTS, createFakeGuest, type FakeGuest, FREE, VIRTUAL_BASE } from './fake-guest.ts';
import { frameOf } from './page-table-entry.ts';

const P = 1n;
const RW = 2n;
const US = 4n;
const address = (frame: number) => BigInt(frame) << 12n;
const SEG = { code: 0x00af9b000000ffffn, data: 0x00cf93000000ffffn };

test('mmu_update says how far it came', async () => {
  const g = await createFakeGuest();
  const done = ARGUMENTS + 0x100n;
  g.poke(ARGUMENT_FRAME, 32, 99);
  g.words((FREE * 4096) | 0, 1n, FREE * 4096 + 8, 2n, FREE * 4096 + 4, 3n, FREE * 4096 + 16, 4n);
  assert.equal(g.call(1, ARGUMENTS, 4, done, 0x7ff0), -EINVAL, 'the third is not aligned');
  assert.equal(g.cpu.memory.read32(ARGUMENT_FRAME * 4096 + 0x100), 2);
  assert.equal(g.entry(FREE, 1), 2n, 'an ordinary page takes any value');
  assert.equal(g.entry(FREE, 2), 0n);
  assert.equal(g.call(1, ARGUMENTS, 0, 0, 0x7ff0), 0);
  assert.equal(g.call(1, 0x800000000000n, 1, 0, 0x7ff0), -EFAULT);
  assert.equal(g.call(1, 0xffff800000000000n, 1, 0, 0x7ff0), -EFAULT, "Xen's own area is no argument");
  assert.equal(g.call(1, ARGUMENTS, 1, 0, 0x7ff1), -EPERM);
  assert.equal(g.call(1, ARGUMENTS, 1, 0, 5), -ESRCH);
});

test("the machine-to-physical table is the guest's to fill", async () => {
  const g = await createFakeGuest();
  assert.equal(g.update(FREE, 0, 0x123456789n, 1), 0);
  assert.equal(g.pv.area.m2p(FREE), 0x123456789n);
  assert.equal(g.update(g.pv.info.frames - 1, 0, 0, 1), -EINVAL);
});

test('accessed and dirty bits are preserved for those who ask', async () => {
  const g = await createFakeGuest();
  const page = VIRTUAL_BASE + 0x100000n;
  const place = { ...g.pv.updates.walk(g.v.kernelRoot, Number((page >> 12n) & 0xfffffffffn))! };
  g.poke(place.table, place.index, g.entry(place.table, place.index) | 0x60n);
  assert.equal(g.update(place.table, place.index, address(0x100) | P | US, 2), 0);
  assert.equal(g.entry(place.table, place.index) & 0x60n, 0x60n);
  assert.equal(g.update(place.table, place.index, address(0x100) | P | US), 0);
  assert.equal(g.entry(place.table, place.index) & 0x60n, 0n);
});

test('a long mmu_update takes breath and goes on where it was', async () => {
  const g = await createFakeGuest();
  // The same page of requests, mapped again and again: 16 pages of 256.
  const list = VIRTUAL_BASE + 0x200000n;
  for (let i = 0; i < 24; i++) assert.equal(g.call(14, list + BigInt(i * 4096), address(FREE + 9) | P, 0), 0);
  for (let i = 0; i < 256; i++) {
    g.poke(FREE + 9, 2 * i, FREE * 4096 + 8 * i);
    g.poke(FREE + 9, 2 * i + 1, i);
  }
  const rip = g.cpu.get('rip');
  g.call(1, list, 6000, 0, 0x7ff0);
  assert.equal(g.cpu.get('rip'), rip, 'the instruction is to be repeated');
  assert.equal(g.cpu.get('rsi'), 6000n - 4096n);
  assert.equal(g.cpu.get('rdi'), list + 65536n);
  assert.equal(g.call(1, g.cpu.get('rdi'), Number(g.cpu.get('rsi')), 0, 0x7ff0), 0);
});

test('multicall runs its calls in order and stores each result', async () => {
  const g = await createFakeGuest();
  const entry = (number: number, ...values: (number | bigint)[]) => [
    number,
    0x5555,
    ...Array.from({ length: 6 }, (_, i) => values[i] ?? 0),
  ];
  const page = VIRTUAL_BASE + 0x300000n;
  g.words(
    ...entry(14, page, address(FREE) | P | RW | US, 2),
    ...entry(77),
    ...entry(3, 0xe02b, 0xffffffff80123450n),
    ...entry(13, 0, 0),
    ...entry(17, 0, 0),
    ...entry(26, ARGUMENTS + 0x800n, 1, 0, 0x7ff0),
  );
  g.cpu.memory.write64(ARGUMENT_FRAME * 4096 + 0x800, 99n);
  assert.equal(g.call(13, ARGUMENTS, 6), 0);
  const result = (i: number) => Number(BigInt.asIntN(64, g.entry(ARGUMENT_FRAME, 8 * i + 1)));
  assert.deepEqual([0, 1, 2, 3, 4, 5].map(result), [0, -ENOSYS, 0, -EINVAL, 0x40011, -ENOSYS]);
  assert.equal(g.v.kernelSp, 0xffffffff80123450n);
  assert.equal(g.cpu.read(page, 1, { user: true })?.length, 1);
  assert.equal(g.call(13, ARGUMENTS + 0x1000n * 1024n, 1), -EFAULT);
});

test('iret ends the multicall that it stands in', async () => {
  const g = await createFakeGuest();
  g.words(23, 0, 0, 0, 0, 0, 0, 0, 17, 0x5555);
  const frame = VIRTUAL_BASE + 0x20800n;
  g.cpu.memory.write64(0x20800 + 32, VIRTUAL_BASE + 0x100000n);
  g.cpu.memory.write64(0x20800 + 40, 0xe030n);
  g.cpu.memory.write64(0x20800 + 56, frame);
  g.cpu.memory.write64(0x20800 + 64, 0xe02bn);
  g.cpu.set('rsp', frame);
  g.call(13, ARGUMENTS, 2);
  assert.equal(g.cpu.get('rip'), VIRTUAL_BASE + 0x100000n);
  assert.equal(g.entry(ARGUMENT_FRAME, 9), 0x5555n, 'the second call was not reached');
});

test('descriptor tables are checked, lifted to CPL 3, and locked', async () => {
  const g = await createFakeGuest();
  g.poke(FREE, 2, SEG.code);
  g.poke(FREE, 3, SEG.data);
  assert.equal(g.call(2, g.words(FREE), 16), 0);
  assert.equal(g.entry(FREE, 2), SEG.code | 0x600000000000n);
  assert.deepEqual(g.v.state.gdtFrames, [FREE]);
  assert.deepEqual(
    [...g.cpu.read(0xffff820000000010n, 8)!],
    [...new Uint8Array(BigUint64Array.of(g.entry(FREE, 2)).buffer)],
  );
  assert.equal(g.update(FREE, 4, 0), -EINVAL, 'not by mmu_update');
  assert.equal(g.call(14, VIRTUAL_BASE + 0x100000n, address(FREE) | P | RW, 0), -16, 'nor by a writable mapping');
  assert.equal(g.call(10, FREE * 4096 + 40, SEG.data), 0);
  assert.equal(g.entry(FREE, 5), SEG.data | 0x600000000000n);
  const bad = { ldt: 0x0000820000000067n, tss: 0x0000890000000067n, interruptGate: 0x00008e0000330000n };
  for (const [name, descriptor] of Object.entries(bad)) {
    assert.equal(g.call(10, FREE * 4096 + 48, descriptor), -EINVAL, name);
    g.poke(FREE + 1, 7, descriptor);
    assert.equal(g.call(2, g.words(FREE + 1), 512), -EINVAL, `${name} in a table`);
  }
  assert.deepEqual(g.v.state.gdtFrames, [FREE], 'the old table is still there');
  assert.equal(g.call(10, FREE * 4096 + 48, 0x0000ec00e0330000n), 0, 'a call gate');
  assert.equal(g.entry(FREE, 6), 0x00008c00e0330000n, 'its DPL stands in the selector');
  assert.equal(g.call(10, FREE * 4096 + 48, 0x00008c00e0080000n), -EINVAL, "a call gate to Xen's");
  assert.equal(g.call(10, FREE * 4096 + 4, 0n), -EINVAL);
  assert.equal(g.call(10, 2n ** 60n, 0n), -EINVAL);
  assert.equal(g.call(2, g.words(FREE), 7169), -EINVAL);
  assert.equal(g.call(2, 0, 0), 0);
  assert.equal(g.pv.info.typeCount[FREE], 0);
});

test('LDT pages come in when they are touched', async () => {
  const g = await createFakeGuest();
  const page = VIRTUAL_BASE + 0x100000n;
  g.poke(0x100, 1, SEG.data);
  assert.equal(g.extended(13, page, 2), 0);
  const base = 0xffff820000010000n;
  assert.equal(g.pageFault(base + 8n, 0), false, 'the page is still writable');
  assert.equal(g.call(14, page, address(0x100) | P, 2), 0);
  assert.equal(g.pageFault(base + 8n, 0), true);
  assert.equal(g.pageFault(base + 16n, 0), false, 'past its end');
  assert.equal(g.call(25, 3, 0xf), 0);
  assert.equal(g.cpu.segment('gs').selector, 0xf);
  assert.equal(g.extended(13, page, 8193), -EINVAL);
  assert.equal(g.extended(13, 0xffff800000000000n, 1), -EINVAL);
  assert.equal(g.extended(13, 0, 0), 0);
  assert.equal(g.pv.info.typeCount[0x100], 0);
});

test("segment bases and the user's GS", async () => {
  const g = await createFakeGuest();
  assert.equal(g.call(25, 0, 0x1000), 0);
  assert.equal(g.call(25, 1, 0x2000), 0);
  assert.equal(g.call(25, 2, 0xffffffff80000000n), 0);
  assert.equal(g.cpu.get('fsBase'), 0x1000n);
  assert.equal(g.cpu.get('kernelGsBase'), 0x2000n);
  assert.equal(g.call(25, 0, 1n << 50n), -EINVAL);
  assert.equal(g.call(25, 4, 0), -EINVAL);
  assert.equal(g.call(25, 3, 0x1234), 0, 'a selector that does not load becomes null');
  assert.equal(g.cpu.segment('gs').selector, 0);
  assert.equal(g.cpu.get('gsBase'), 0xffffffff80000000n);
  assert.equal(g.cpu.get('kernelGsBase'), 0n);
});

test('debug registers', async () => {
  const g = await createFakeGuest();
  assert.equal(g.call(8, 0, VIRTUAL_BASE), 0);
  assert.equal(g.call(8, 0, 0xffff800000000000n), -EPERM);
  assert.equal(g.call(8, 7, 1n << 32n), -EINVAL);
  assert.equal(g.call(8, 7, 0x2000), -EPERM);
  assert.equal(g.call(8, 8, 0), -ENODEV);
  assert.equal(g.call(8, 5, 1), 0, 'another name of 7');
  assert.equal(g.call(9, 7), 0x401);
  g.call(9, 0);
  assert.equal(g.cpu.get('rax'), VIRTUAL_BASE);
});

test('memory goes back and comes again', async () => {
  const g = await createFakeGuest();
  const pages = g.pv.domain.pages;
  const list = ARGUMENTS + 0x100n;
  const reserve = (command: number, order: number, ...frames: number[]) => {
    g.words(list, frames.length, order, 0x7ff0);
    for (const [i, frame] of frames.entries()) g.poke(ARGUMENT_FRAME, 32 + i, frame);
    return g.call(12, command, ARGUMENTS);
  };
  assert.equal(reserve(1, 0, FREE, FREE + 1, FREE), 2, 'the third is gone already');
  assert.equal(g.call(12, 3, g.words(0x7ff0)), pages - 2);
  assert.equal(g.pv.area.m2p(FREE), 0xffffffffffffffffn);
  assert.equal(g.update(FREE, 0, 0), -EINVAL);
  assert.equal(reserve(6, 0, 0x111, 0x112, 0x113), 2, 'no more than were given back');
  assert.deepEqual(
    [32, 33, 34].map(i => g.entry(ARGUMENT_FRAME, i)),
    [BigInt(FREE + 1), BigInt(FREE), 0x113n],
  );
  assert.equal(g.pv.area.m2p(FREE + 1), 0x111n);
  assert.equal(reserve(1, 0, g.v.kernelRoot), 1, 'a table may be given back');
  assert.equal(g.pv.info.isOwned(g.v.kernelRoot), true, 'but stays while it is one');
  assert.equal(reserve(6, 0, 5), 0, 'and is not given out');
  assert.equal(reserve(1, 1, FREE + 16), 1);
  assert.equal(reserve(6, 1, 0x200), 1, 'two in a row');
  assert.equal(g.entry(ARGUMENT_FRAME, 32), BigInt(FREE + 16));
});

test('an exchange finds a run or leaves everything in place', async () => {
  const g = await createFakeGuest();
  const input = ARGUMENTS + 0x100n;
  const output = ARGUMENTS + 0x200n;
  const exchange = (frames: number[], order: number) => {
    g.words(input, frames.length, 0, 0x7ff0, output, frames.length >> order, order, 0x7ff0, 0);
    for (const [i, frame] of frames.entries()) g.poke(ARGUMENT_FRAME, 32 + i, frame);
    g.poke(ARGUMENT_FRAME, 64, 0x777);
    return g.call(12, 11, ARGUMENTS);
  };
  assert.equal(exchange([FREE + 3, FREE + 1, FREE + 2, FREE], 2), 0);
  assert.equal(g.entry(ARGUMENT_FRAME, 64), BigInt(FREE));
  assert.equal(g.entry(ARGUMENT_FRAME, 8), 4n, 'nr_exchanged');
  assert.equal(g.pv.area.m2p(FREE + 2), 0x779n);
  assert.equal(exchange([FREE + 9, FREE + 13, FREE + 21, FREE + 33], 2), -12, 'no run of four');
  for (const frame of [FREE + 9, FREE + 13, FREE + 21, FREE + 33]) assert.ok(g.pv.info.isIdle(frame));
  assert.equal(exchange([g.v.kernelRoot, FREE + 1], 1), -EINVAL, 'in use');
  assert.equal(exchange([FREE + 1, FREE + 1], 1), -EINVAL, 'twice the same');
  assert.equal(g.call(12, 3, g.words(0x7ff0)), g.pv.domain.pages);
});

/** Counts anew, from the tables as they stand, what the page types have counted along the way. */
function recount(g: FakeGuest): void {
  const { info } = g.pv;
  const references = new Uint32Array(info.frames);
  const types = new Uint32Array(info.frames);
  const { first, last } = g.pv.abi.xenSlots;
  for (let frame = 0; frame < info.frames; frame++) {
    if (info.isAllocated(frame)) references[frame]++;
    if (info.isPinned(frame)) {
      references[frame]++;
      types[frame]++;
    }
    const level = info.typeCount[frame] !== 0 ? info.type[frame] : 0;
    if (level < 1 || level > 4) continue;
    for (let i = 0; i < 512; i++) {
      const low = info.words[frame * 1024 + 2 * i];
      if ((low & PTE_P) === 0 || (level === 4 && i >= first && i <= last)) continue;
      const target = frameOf(low, info.words[frame * 1024 + 2 * i + 1]);
      assert.ok(info.isOwned(target), `entry ${i} of ${frame} points to ${target}, which is not the domain's`);
      if (level > 1 && target === frame) continue;
      references[target]++;
      if (level > 1) {
        types[target]++;
        assert.equal(info.type[target], level - 1, `entry ${i} of L${level} table ${frame}`);
      } else if (low & PTE_RW) {
        types[target]++;
        assert.equal(info.type[target], 7, `frame ${target} is writable by entry ${i} of ${frame}`);
      }
    }
  }
  const { domain } = g.pv;
  const shared = [domain.xenstoreRing.address, domain.consoleRing.address, g.v.vcpu.state.registeredInfo ?? 0];
  const held = [g.v.kernelRoot, g.v.userRoot, ...g.v.state.gdtFrames, ...g.v.state.ldtFrames.values()];
  for (const frame of [...held, ...shared.map(at => at >>> 12)].filter(Boolean)) {
    references[frame]++;
    types[frame]++;
  }
  for (let frame = 0; frame < g.pv.domain.pages; frame++) {
    assert.equal(info.references[frame], references[frame], `references of frame ${frame}`);
    assert.equal(info.typeCount[frame], types[frame], `type references of frame ${frame}`);
  }
}

/** Rounds of the random test; more by PV_FUZZ_ROUNDS. */
const ROUNDS = Number(globalThis.process?.env.PV_FUZZ_ROUNDS ?? 5_000);

test('random hypercalls leave every count right and nothing outside the domain reachable', async () => {
  let g = await createFakeGuest();
  const random = createRandom(0x70762d66757a7an);
  const numbers = Object.keys(g.cpuOps.hypercalls).map(Number);
  const frames = () =>
    random.of([
      FREE + random.below(12),
      FREE + random.below(12),
      g.v.kernelRoot + random.below(6),
      random.below(g.pv.info.frames + 4),
    ]);
  const entry = () =>
    random.of([
      0n,
      address(frames()) | P,
      address(frames()) | P | RW,
      address(frames()) | P | RW | US,
      address(frames()) | BigInt(random.below(4096)),
      random.next64(),
    ]);
  const value = () =>
    random.of([
      0n,
      1n,
      BigInt(random.below(64)),
      BigInt(frames()),
      address(frames()),
      ARGUMENTS + BigInt(random.below(4096)),
      VIRTUAL_BASE + BigInt(random.below(1 << 22)),
      entry(),
      random.next64(),
      0x7ff0n,
    ]);
  let refused = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const kind = random.below(10);
    let result: number;
    if (kind < 4)
      result = g.update(frames(), random.of([0, 1, 2, 256, 271, random.below(512)]), entry(), random.below(4));
    else if (kind < 7)
      result = g.extended(
        random.of([0, 1, 2, 3, 4, 4, 5, 13, 15, 15, 16, 17, random.below(24)]),
        frames(),
        random.of([0n, BigInt(frames()), value()]),
      );
    else if (kind < 8) result = g.call(14, VIRTUAL_BASE + BigInt(random.below(1024) * 4096), entry(), random.below(16));
    else {
      for (let i = 0; i < 64; i++) if (random.below(3) === 0) g.poke(ARGUMENT_FRAME, i, value());
      result = g.call(random.of(numbers), ...Array.from({ length: 6 }, value));
    }
    if (result < 0) refused++;
    if (g.cpu.kills.length > 0 || g.cpu.get('cr3') !== address(g.v.kernelRoot) || g.call(17, 0, 0) !== 0x40011) {
      recount(g);
      g = await createFakeGuest();
    } else if (round % 500 === 0) recount(g);
    // The argument page may have been unmapped or become a table: then a new guest, or no call does anything any more.
    if (g.pv.copy.page(g.v.kernelRoot, Number((ARGUMENTS >> 12n) & 0xfffffffffn), true) !== ARGUMENT_FRAME * 4096) {
      recount(g);
      g = await createFakeGuest();
    }
  }
  recount(g);
  assert.ok(refused > ROUNDS / 10 && refused < ROUNDS, `${refused} of ${ROUNDS} refused`);
});
