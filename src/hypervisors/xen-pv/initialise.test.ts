import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRandom } from '../../conformance/random.ts';
import { EEXIST, EFAULT, EINVAL, ENOENT, EOPNOTSUPP } from '../xen/constants.ts';
import { ARGUMENT_FRAME, ARGUMENTS, createFakeGuest, type FakeGuest, FREE, VIRTUAL_BASE } from './fake-guest.ts';
import { NO_FRAME } from './page-table-entry.ts';

const VCPU_OP = 24;
const [INITIALISE, UP, DOWN, IS_UP] = [0, 1, 2, 3];
const REGISTER_VCPU_INFO = 10;
const SEND_NMI = 11;
/** Offsets in struct vcpu_guest_context (public/arch-x86/xen.h), and the page that it fills with the next. */
const AT = { flags: 512, rax: 600, rip: 648, cs: 656, rflags: 664, rsp: 672, ss: 680, ldtEntries: 4824, gdt: 4832 };
const MORE = { gdtEntries: 4960, kernelSp: 4976, user: 4992, kernel: 5008, event: 5112, gsBase: 5152 };
const IN_KERNEL = 4n;
const ENTRY = VIRTUAL_BASE + 0x1000n;
const STACK = VIRTUAL_BASE + 0x8000n;
/** The guest's GDT: code and data of a kernel, as Linux has them. */
const GDT = FREE;
const CODE = 0x00af9b000000ffffn;
const DATA = 0x00cf93000000ffffn;

/** What Linux hands over for another processor, with some of it changed. The descriptors' page is not a table yet. */
function context(g: FakeGuest, changes: Record<number, bigint> = {}): bigint {
  const base = ARGUMENT_FRAME * 4096;
  g.cpu.memory.fill(base, 0x2000);
  g.poke(GDT, 2, CODE);
  g.poke(GDT, 3, DATA);
  const fields = {
    [AT.flags]: IN_KERNEL,
    [AT.rax]: 7n,
    [AT.rip]: ENTRY,
    [AT.cs]: 0x10n,
    [AT.rflags]: 0x1000n,
    [AT.rsp]: STACK,
    [AT.ss]: 0x18n,
    [AT.gdt]: BigInt(GDT),
    [MORE.gdtEntries]: 16n,
    [MORE.kernelSp]: STACK,
    [MORE.kernel]: BigInt(g.v.kernelRoot) << 12n,
    [MORE.event]: ENTRY + 64n,
    [MORE.gsBase]: VIRTUAL_BASE + 0x9000n,
    ...changes,
  };
  for (const [at, value] of Object.entries(fields)) g.cpu.memory.write64(base + Number(at), value);
  return ARGUMENTS;
}

test('another processor starts with the state that it is given, when it is told to', async () => {
  const g = await createFakeGuest(2);
  const [, other] = g.cpus;
  const root = g.v.kernelRoot;
  const before = g.pv.info.typeCount[root]!;
  assert.equal(g.call(VCPU_OP, IS_UP, 1), 0);
  assert.equal(g.call(VCPU_OP, UP, 1), -EINVAL, 'there is nothing to start with');
  assert.equal(g.call(VCPU_OP, INITIALISE, 1, context(g)), 0);
  assert.equal(g.call(VCPU_OP, INITIALISE, 1, ARGUMENTS), -EEXIST);
  assert.equal(g.call(VCPU_OP, INITIALISE, 0, ARGUMENTS), -EEXIST);
  assert.equal(other!.started, false);
  assert.equal(g.call(VCPU_OP, UP, 1), 0);
  assert.equal(g.call(VCPU_OP, UP, 1), 0, 'it is up');
  assert.equal(other!.started, true);
  assert.equal(g.call(VCPU_OP, IS_UP, 1), 1);
  assert.equal(g.pv.info.typeCount[root], before + 1, 'a root that two processors have loaded is referenced twice');
  assert.deepEqual(
    (['rip', 'rsp', 'rax', 'gsBase', 'cr3', 'flags'] as const).map(name => other!.get(name)),
    [ENTRY, STACK, 7n, VIRTUAL_BASE + 0x9000n, BigInt(root) << 12n, 0x202n],
  );
  assert.equal(other!.segment('cs').selector, 0x13, 'in ring 3');
  assert.equal(g.pv.vcpus[1]!.vcpu.state.iopl, 1);
  assert.notEqual(other!.get('gdtBase'), g.pv.area.gdtBase(0));
});

test('a processor that goes down continues when it is up again; with the last one the domain ends', async () => {
  const g = await createFakeGuest(3);
  assert.equal(g.call(VCPU_OP, INITIALISE, 1, context(g)), 0);
  assert.equal(g.call(VCPU_OP, UP, 1), 0);
  assert.equal(g.call(VCPU_OP, DOWN, 1), 0);
  assert.equal(g.call(VCPU_OP, IS_UP, 1), 0);
  const rip = g.cpus[1]!.get('rip');
  // Events for it wait, and do not start it.
  const vcpu = g.pv.domain.vcpus[1]!;
  vcpu.markEventsPending();
  assert.equal(g.call(VCPU_OP, SEND_NMI, 1), 0);
  assert.equal(g.cpus[1]!.started, false);
  assert.equal(g.call(VCPU_OP, UP, 1), 0);
  assert.equal(g.cpus[1]!.get('rip'), rip);
  assert.equal(g.call(VCPU_OP, DOWN, 1), 0);
  assert.deepEqual(g.cpu.requests, []);
  assert.equal(g.call(VCPU_OP, DOWN, 0), 0);
  assert.deepEqual(g.cpu.requests, ['power-off']);
});

test('what cannot be is refused, and nothing is held afterwards', async () => {
  const g = await createFakeGuest(2);
  const root = g.v.kernelRoot;
  const counts = () => [root, GDT].map(frame => [g.pv.info.typeCount[frame], g.pv.info.references[frame]]);
  context(g);
  const before = counts();
  const bad: [what: string, changes: Record<number, bigint>, error?: number][] = [
    ['an address that is not canonical', { [AT.rip]: 1n << 50n }],
    ['a root that is an ordinary page', { [MORE.kernel]: BigInt(ARGUMENT_FRAME) << 12n }],
    ['a root above all memory', { [MORE.kernel]: 0xfffffffffffff000n }],
    ['a user root that is one', { [MORE.user]: BigInt(ARGUMENT_FRAME) << 12n }],
    ['user mode without a root', { [AT.flags]: 0n }],
    ['too many GDT entries', { [MORE.gdtEntries]: 14n * 512n + 1n }],
    ['endless GDT entries', { [MORE.gdtEntries]: 2n ** 64n - 1n }],
    ['a GDT that is a page table', { [AT.gdt]: BigInt(root) }],
    ['a GDT above all memory', { [AT.gdt]: 2n ** 40n }],
    ['too many LDT entries', { [AT.ldtEntries]: 8193n }],
    ['code that is none', { [AT.cs]: 0x18n }],
    ['a stack that is none', { [AT.ss]: 0x10n }],
    ['an image of the FPU', { [AT.flags]: IN_KERNEL | 1n }, EOPNOTSUPP],
  ];
  for (const [what, changes, error = EINVAL] of bad) {
    assert.equal(g.call(VCPU_OP, INITIALISE, 1, context(g, changes)), -error, what);
    assert.deepEqual(counts(), before, what);
    assert.equal(g.pv.vcpus[1]!.kernelRoot, NO_FRAME, what);
  }
  assert.equal(g.call(VCPU_OP, INITIALISE, 1, 0x800000000000n), -EFAULT);
  for (const number of [2, 31, 32, 64, 2 ** 31, 2 ** 32 - 1])
    for (let command = 0; command < 14; command++)
      assert.equal(g.call(VCPU_OP, command, number, ARGUMENTS), -ENOENT, `${command} of ${number}`);
  assert.deepEqual(g.cpu.kills, []);
});

test('random contexts start nothing that may not be, and hold nothing that was refused', async () => {
  const g = await createFakeGuest(2);
  const random = createRandom(0x696e6974n);
  const root = g.v.kernelRoot;
  const values = [0n, 1n, BigInt(root) << 12n, BigInt(FREE), VIRTUAL_BASE, 0xffff800000000000n, 2n ** 64n - 1n, 0x10n];
  context(g);
  const before = g.pv.info.references[root];
  for (let round = 0; round < 500; round++) {
    const changes = Object.fromEntries(
      Array.from({ length: 1 + random.below(3) }, () => [
        random.of([...Object.values(AT), ...Object.values(MORE), 8 * random.below(646)]),
        random.below(3) === 0 ? random.next64() : random.of(values),
      ]),
    );
    const result = g.call(VCPU_OP, INITIALISE, 1, context(g, changes));
    if (result !== 0) assert.equal(g.pv.info.references[root], before, `${round}: ${result}`);
    else return assert.ok(isSafe(g), `${round}`);
  }
});

/** The processor runs in ring 3 on a root that was checked. */
function isSafe(g: FakeGuest): boolean {
  const { kernelRoot, userRoot } = g.pv.vcpus[1]!;
  const types = [kernelRoot, userRoot].filter(frame => frame !== 0).map(frame => g.pv.info.type[frame]);
  return types.every(type => type === 4) && (g.cpus[1]!.segment('cs').selector & 3) === 3;
}

test('a processor that is down may have its vcpu_info placed by others, one that runs may not', async () => {
  const g = await createFakeGuest(2);
  const place = (offset: number) => g.call(VCPU_OP, REGISTER_VCPU_INFO, 1, g.words(FREE + 2, offset));
  assert.equal(place(4), -6, 'not aligned');
  assert.equal(place(4040), -6, 'past the end of the page');
  assert.equal(place(128), 0);
  assert.equal(place(128), -EINVAL, 'once');
  const info = (FREE + 2) * 4096 + 128;
  assert.deepEqual(
    [g.cpu.memory.read8(info), g.cpu.memory.read8(info + 1)],
    [1, 1],
    'an upcall is pending, and masked',
  );
  const h = await createFakeGuest(2);
  assert.equal(h.call(VCPU_OP, INITIALISE, 1, context(h)), 0);
  assert.equal(h.call(VCPU_OP, UP, 1), 0);
  assert.equal(h.call(VCPU_OP, REGISTER_VCPU_INFO, 1, h.words(FREE + 2, 128)), -EINVAL);
});

test('the 33rd processor needs a vcpu_info of its own before it can be initialised', async () => {
  const g = await createFakeGuest(34);
  const pending = g.pv.domain.sharedInfo.address + 0x800;
  g.pv.domain.vcpus[33]!.markEventsPending();
  assert.equal(g.cpu.memory.read64(pending), 0n, "it does not stand where the ports' bits are");
  assert.equal(g.call(VCPU_OP, INITIALISE, 33, context(g)), -EINVAL);
  assert.equal(g.call(VCPU_OP, REGISTER_VCPU_INFO, 33, g.words(FREE + 2, 0)), 0);
  assert.equal(g.call(VCPU_OP, INITIALISE, 33, context(g)), 0);
  assert.equal(g.call(VCPU_OP, UP, 33), 0);
  assert.equal(g.cpus[33]!.get('gdtBase'), g.pv.area.gdtBase(33));
});

test('masks of processors that cannot be read are refused', async () => {
  const g = await createFakeGuest(4);
  const page = VIRTUAL_BASE + 0x100000n;
  for (const command of [8, 9]) {
    assert.equal(g.extended(command, page, ARGUMENTS + 0x80n), 0);
    for (const mask of [0n, 0x800000000000n, 0xffff800000000000n, 2n ** 64n - 1n])
      assert.equal(g.extended(command, page, mask), -EINVAL, `${command} ${mask.toString(16)}`);
  }
  for (const command of [6, 7, 10, 11]) assert.equal(g.extended(command, page, 2n ** 64n - 1n), 0);
  const value = g.entry(...placeOf(g, page));
  for (const flags of [0n, 1n, 2n, 5n, 6n, (ARGUMENTS + 0x80n) | 1n, 0x800000000000n])
    assert.equal(g.call(14, page, value, flags), 0, flags.toString(16));
  for (const flags of [0x800000000001n, 0xffff800000000002n]) assert.equal(g.call(14, page, value, flags), -EFAULT);
});

function placeOf(g: FakeGuest, page: bigint): [table: number, index: number] {
  const { table, index } = g.pv.updates.walk(g.v.kernelRoot, Number((page >> 12n) & 0xfffffffffn))!;
  return [table, index];
}

test('a change of a page table reaches the translations of all processors', async () => {
  const g = await createFakeGuest(3);
  const page = VIRTUAL_BASE + 0x100000n;
  assert.equal(g.call(14, page, 0, 0), 0);
  for (const { id, events } of g.cpus) assert.ok(events.includes(`invalidate ${page.toString(16)}`), `processor ${id}`);
});
