/**
 * What every hypervisor must do, whichever it is: the cases of the conformance suite. They run against a processor
 * without an engine (fake-processor.ts) and ask only what the waist promises. A case that does not apply says why:
 * either the table itself shows it (`needs`), or the hypervisor declares it (`Paravirt.skip`).
 */

import { bareTable } from '../hypervisors/bare/index.ts';
import { ownMember } from '../own-member.ts';
import { mistakeIn } from '../paravirt/check-table.ts';
import { compare, tableOf } from '../paravirt/compare.ts';
import { derive } from '../paravirt/derive.ts';
import { GROUPS } from '../paravirt/group.ts';
import { nothing } from '../paravirt/native.ts';
import type { CpuidResult, Paravirt } from '../paravirt/operations.ts';
import { traced } from '../paravirt/trace.ts';
import * as assert from './assert.ts';
import { ARGUMENTS, callOp, FREE, hypercall, UNKNOWN_HYPERCALL } from './calls.ts';
import { bootFixture, type Fixture } from './fixture.ts';
import { createRandom } from './random.ts';
import { saveAndRestore } from './save-and-restore.ts';

export interface Case {
  name: string;
  /** How many processors the machine has; default: one. */
  processors?: number;
  /** Why this case does not apply to this hypervisor, seen from its table; undefined where it does. */
  needs?(fixture: Fixture): string | undefined;
  /** @param again makes another machine with the same hypervisor. */
  run(fixture: Fixture, again: () => Promise<Fixture>): void | Promise<void>;
}

/** Why `test` is not run for this hypervisor, or undefined. */
export function skipReason(test: Case, fixture: Fixture): string | undefined {
  const { maximum } = fixture.table.smp;
  if ((test.processors ?? 1) > maximum) return `its interface starts ${maximum} processor${maximum > 1 ? 's' : ''}`;
  return ownMember(fixture.table.skip, test.name) ?? test.needs?.(fixture);
}

/** Processors of the cases that need several. */
const SEVERAL = 4;

/** CPUID.1:ECX[31]. */
const HYPERVISOR = 2 ** 31;
const SIGNATURE = 0x40000000;
const MASK64 = 2n ** 64n - 1n;

/** Values a hostile or mistaken guest hands over: addresses at every kind of edge, and all bits. */
function hostileValues(size: number): bigint[] {
  const end = BigInt(size);
  const edges = [0n, 1n, 0xfffn, 0x1000n, 0x1ffcn, end - 4096n, end - 1n, end, 2n ** 31n, 2n ** 32n - 1n, 2n ** 47n];
  const more = [2n ** 52n, 2n ** 53n, 2n ** 63n, 0xffff800000000000n, MASK64 - 7n, MASK64];
  return [...edges, ...more].flatMap(value => [value, value ^ 1n, (value | 0x3fn) & MASK64]);
}

/** The processor's own answer, recognizable. */
const plainCpuid = (leaf: number): CpuidResult => ({ eax: leaf === 0 ? 0x16 : 0x11, ebx: 0x22, ecx: 0x33, edx: 0x44 });

function cpuid({ table, cpu }: Fixture, leaf: number, subleaf = 0): CpuidResult {
  const natively = () => plainCpuid(leaf);
  const op = table.cpu.cpuid;
  return (typeof op === 'function' ? op(cpu, leaf, subleaf, natively) : undefined) ?? natively();
}

/** As deepEqual, without a picture of 16 MiB where they differ. */
function assertSame(actual: Uint8Array, expected: Uint8Array): void {
  const at = actual.findIndex((byte, index) => byte !== expected[index]);
  assert.equal(at, -1, `guest memory differs from 0x${at.toString(16)} on`);
}

const NO_HYPERCALLS = 'has no hypercalls: VMCALL is #UD, which the machine raises';

const needsFunction =
  (pick: (table: Paravirt) => unknown, reason: string): Case['needs'] =>
  ({ table }) =>
    typeof pick(table) === 'function' ? undefined : reason;

/** True if the guest was told off: an exception, an end with its reason, or an error in RAX. */
function wasRefused({ cpu }: Fixture, result: bigint): boolean {
  return (
    cpu.raised.length > 0 || cpu.kills.length > 0 || result < 0n || (result !== 0n && result !== UNKNOWN_HYPERCALL)
  );
}

export const cases: readonly Case[] = [
  {
    name: 'the table is complete and names itself',
    run({ module, table }) {
      assert.equal(table.name, module.name);
      assert.equal(mistakeIn(table), undefined);
    },
  },
  {
    name: 'registers and hypercalls are described',
    run({ table }) {
      for (const [index, msr] of Object.entries(table.cpu.msrs)) {
        assert.ok(Number(index) >= 0 && Number(index) < 2 ** 32);
        assert.match(msr.name, /^\w+$/, `MSR 0x${Number(index).toString(16)}`);
        assert.ok(msr.read || msr.write, `${msr.name} can be neither read nor written`);
      }
      const names = new Set<string>();
      for (const call of Object.values(table.cpu.hypercalls)) {
        assert.match(call.name, /^\w+$/);
        assert.ok(!names.has(call.name), `${call.name} twice`);
        names.add(call.name);
        assert.ok(call.status === 'done' || call.note, `${call.name} is done partly: which part?`);
      }
      if (names.size > 0) assert.ok([table.cpu.hypercall, table.cpu.syscall].some(op => typeof op === 'function'));
    },
  },
  {
    name: 'derive changes neither its base nor its differences',
    run({ table }) {
      const picture = () =>
        GROUPS.map(group => Object.entries(table[group])).concat([
          Object.entries(table.cpu.msrs),
          Object.entries(table.skip),
        ]);
      const before = picture();
      const msr = { name: 'MSR_OF_THE_TEST', read: () => 1n };
      const differences = {
        name: 'derived',
        title: 'made by a test',
        cpu: { cpuid: nothing, msrs: { 4660: msr } },
      } as const;
      const derived = derive(table, differences);
      assert.deepEqual(picture(), before);
      assert.deepEqual(Object.keys(differences.cpu.msrs), ['4660']);
      assert.equal(derived.cpu.cpuid, nothing);
      assert.equal(derived.cpu.msrs[0x1234], msr);
      assert.equal(Object.keys(derived.cpu.msrs).length, Object.keys(table.cpu.msrs).length + 1);
      assert.equal(derived.irq.deliver, table.irq.deliver);
    },
  },
  {
    name: 'two machines share nothing',
    needs: ({ table }) => (Object.keys(table.cpu.msrs).length > 0 ? undefined : 'has no registers of its own'),
    async run(first, again) {
      const second = await again();
      const untouched = second.context.memory.bytes.slice();
      for (const [index, msr] of Object.entries(first.table.cpu.msrs)) {
        const before = second.table.cpu.msrs[Number(index)].read?.(second.cpu);
        msr.write?.(first.cpu, FREE | 1n);
        assert.equal(second.table.cpu.msrs[Number(index)].read?.(second.cpu), before, msr.name);
      }
      assertSame(second.context.memory.bytes, untouched);
    },
  },
  {
    name: 'can be listed without a machine',
    run({ module, table }) {
      const listed = compare(tableOf(module), bareTable);
      assert.equal(listed.name, table.name);
      assert.equal(listed.msrs.length, Object.keys(table.cpu.msrs).length);
    },
  },
  {
    name: 'the signature leaf is consistent',
    needs: needsFunction(table => table.cpu.cpuid, 'answers no CPUID leaf: guests take it for hardware'),
    run(fixture) {
      const { eax: highest, ebx, ecx, edx } = cpuid(fixture, SIGNATURE);
      assert.ok(cpuid(fixture, 1).ecx >= HYPERVISOR, 'CPUID.1:ECX[31] is set');
      assert.equal(cpuid(fixture, 1).ecx % HYPERVISOR, plainCpuid(1).ecx, 'and nothing else of ECX is changed');
      assert.ok(highest >= SIGNATURE && highest <= 0x400000ff, `highest leaf 0x${highest.toString(16)}`);
      const bytes = new Uint8Array(Uint32Array.of(ebx, ecx, edx).buffer);
      assert.match(new TextDecoder('latin1').decode(bytes), /^[ -~]{4,12}\0*$/);
      for (let leaf = SIGNATURE; leaf <= highest; leaf++)
        assert.notDeepEqual(cpuid(fixture, leaf), plainCpuid(leaf), `leaf 0x${leaf.toString(16)} is announced`);
    },
  },
  {
    name: 'CPUID gives unsigned 32-bit numbers, and the processor keeps its own leaves',
    run(fixture) {
      const ours = [0, 1, 4, 7, 0xb, 0xd, 0x15, 0x40000000, 0x40000001, 0x40000002, 0x40000010, 0x400000ff, 0x40000100];
      for (const leaf of [...ours, 0x80000000, 0x80000001, 0x80000007, 0x80000008, 0xffffffff])
        for (const subleaf of [0, 1, 2, 0xffffffff])
          for (const [register, value] of Object.entries(cpuid(fixture, leaf, subleaf)))
            assert.ok(
              Number.isInteger(value) && value >= 0 && value < 2 ** 32,
              `leaf 0x${leaf.toString(16)} ${register} ${value}`,
            );
      for (const leaf of [0, 4, 0xb, 0x80000000, 0x80000002]) assert.deepEqual(cpuid(fixture, leaf), plainCpuid(leaf));
    },
  },
  {
    name: 'registers take hostile values',
    needs: ({ table }) => (Object.keys(table.cpu.msrs).length > 0 ? undefined : 'has no registers of its own'),
    run({ table, cpu }) {
      for (const msr of Object.values(table.cpu.msrs)) {
        for (const value of hostileValues(cpu.memory.size)) {
          const before = msr.read?.(cpu);
          if (msr.write && !msr.write(cpu, value) && msr.read)
            assert.equal(msr.read(cpu), before, `${msr.name}: a refused write changes nothing`);
          const after = msr.read?.(cpu) ?? 0n;
          assert.ok(after >= 0n && after <= MASK64, `${msr.name} reads ${after}`);
        }
      }
      assert.deepEqual(cpu.raised, [], '#GP is told by the result, not raised twice');
    },
  },
  {
    name: 'an unknown hypercall is refused',
    needs: needsFunction(callOp, NO_HYPERCALLS),
    run(fixture) {
      const result = hypercall(fixture, UNKNOWN_HYPERCALL);
      assert.ok(wasRefused(fixture, result), `RAX is ${result}`);
      assert.deepEqual(fixture.cpu.requests, []);
    },
  },
  {
    name: 'a hypercall from user mode is refused',
    needs: ({ table }) => {
      if (!callOp(table)) return NO_HYPERCALLS;
      return typeof table.cpu.hypercall === 'function'
        ? undefined
        : "from user mode, SYSCALL is the guest's own system call";
    },
    run(fixture) {
      // The kernel's first call, with all that has to be set up before it.
      hypercall(fixture, UNKNOWN_HYPERCALL);
      fixture.cpu.cpl = 3;
      for (const number of [...Object.keys(fixture.table.cpu.hypercalls).map(BigInt), UNKNOWN_HYPERCALL]) {
        fixture.cpu.raised.length = 0;
        const memory = fixture.cpu.memory.bytes.slice();
        const result = hypercall(fixture, number, [FREE, 0n]);
        assert.ok(
          fixture.cpu.raised.length > 0 || fixture.cpu.kills.length > 0 || result < 0n,
          `hypercall ${number}: RAX is ${result}`,
        );
        assertSame(fixture.cpu.memory.bytes, memory);
      }
    },
  },
  {
    name: 'hypercalls take hostile arguments',
    needs: needsFunction(callOp, NO_HYPERCALLS),
    run(fixture) {
      const random = createRandom(0x706f6c79n);
      const values = hostileValues(fixture.cpu.memory.size);
      const numbers = Object.keys(fixture.table.cpu.hypercalls).map(BigInt);
      const pick = () => (random.below(4) === 0 ? random.next64() : random.of(values));
      for (let round = 0; round < 2000; round++) {
        const number = random.below(8) === 0 || numbers.length === 0 ? pick() : random.of(numbers);
        const result = hypercall(fixture, number, ARGUMENTS.map(pick));
        assert.ok(result >= -(2n ** 63n) && result < 2n ** 63n);
      }
    },
  },
  {
    name: "its clock is the host's, and never goes back",
    needs: ({ guest }) => (guest.clock ? undefined : 'no guest half that reads a clock is known'),
    run(fixture) {
      const random = createRandom(0x636c6f636bn);
      fixture.cpu.clock.advance(123_456_789);
      const now = fixture.guest.clock!(fixture);
      let last = -1n;
      for (let step = 0; step < 1000; step++) {
        const time = now();
        assert.ok(time >= last, `${time} after ${last}`);
        last = time;
        const error = Number(time) - fixture.cpu.clock.now();
        // A record's scale is a fraction of 32 bits: it may be off by one part in 2^31, and by a tick.
        assert.ok(
          Math.abs(error) <= 1 + (fixture.guest.resolution ?? 1) + fixture.cpu.clock.now() / 2 ** 31,
          `${error} ns off after ${fixture.cpu.clock.now()}`,
        );
        fixture.cpu.clock.advance(random.of([0, 1, 100, 1e6, 1e9, 6e10]));
      }
    },
  },
  {
    name: 'its clock does not jump when the guest sets its time-stamp counter',
    needs: ({ guest }) => (guest.clock ? guest.settingTsc : 'no guest half that reads a clock is known'),
    run(fixture) {
      const { cpu, table } = fixture;
      const random = createRandom(0x747363n);
      cpu.clock.advance(77_777_777);
      const now = fixture.guest.clock!(fixture);
      for (let step = 0; step < 100; step++) {
        cpu.clock.advance(random.of([0, 1, 1e6, 1e9]));
        cpu.tscOffset = random.of([0n, -1n, 1n << 20n, 1n << 48n, -(1n << 40n)]) - cpu.tsc.at(cpu.clock.now());
        if (typeof table.time.tscMoved === 'function') table.time.tscMoved(cpu);
        cpu.clock.advance(random.of([0, 1000, 1e6]));
        const error = Number(now()) - cpu.clock.now();
        assert.ok(Math.abs(error) <= 3 + (fixture.guest.resolution ?? 1), `${error} ns off after ${cpu.clock.now()}`);
      }
    },
  },
  {
    name: 'it knows when the machine was started',
    needs: ({ guest }) => (guest.wallClock ? undefined : 'no guest half that reads a wall clock is known'),
    run(fixture) {
      fixture.cpu.clock.advance(5e9);
      assert.equal(fixture.guest.wallClock!(fixture), fixture.cpu.clock.epoch);
    },
  },
  {
    name: 'interrupts are delivered exactly once',
    needs: ({ guest, table }) => {
      if (typeof table.irq.deliver === 'function') return 'delivers its own events: see the tests in its folder';
      return guest.interrupts ? undefined : 'no guest half that ends interrupts is known';
    },
    run(fixture) {
      const { table, cpu } = fixture;
      const end = fixture.guest.interrupts!(fixture);
      const random = createRandom(0x697271n);
      const catchUp = () => typeof table.irq.catchUp === 'function' && table.irq.catchUp(cpu);
      /** The machine's loop at an instruction boundary; the handler may be interrupted itself before its end. */
      const deliver = (depth: number): void => {
        catchUp();
        while (cpu.interrupts!.pending()) {
          const vector = cpu.interrupts!.acknowledge();
          cpu.interrupt(vector);
          if (typeof table.irq.delivered === 'function') table.irq.delivered(cpu, vector);
          if (depth < 4 && random.below(3) === 0) {
            request();
            deliver(depth + 1);
          }
          end();
          catchUp();
        }
      };
      const requested: number[] = [];
      const request = () => {
        const vector = 0x20 + random.below(0xe0);
        catchUp();
        if (cpu.interrupts!.requested.has(vector)) return;
        requested.push(vector);
        cpu.interrupts!.request(vector);
      };
      for (let round = 0; round < 500; round++) {
        request();
        if (random.below(2) === 0) request();
        deliver(0);
      }
      assert.deepEqual(cpu.delivered.toSorted(), requested.toSorted());
      assert.deepEqual(cpu.interrupts!.inService, [], 'every interrupt has ended');
    },
  },
  {
    name: 'hypercalls of several processors take hostile arguments',
    processors: SEVERAL,
    needs: needsFunction(callOp, NO_HYPERCALLS),
    run(fixture) {
      const random = createRandom(0x736d70n);
      const values = hostileValues(fixture.cpu.memory.size);
      const numbers = Object.keys(fixture.table.cpu.hypercalls).map(BigInt);
      const pick = () => (random.below(4) === 0 ? random.next64() : random.of(values));
      for (let round = 0; round < 2000; round++) {
        const cpu = random.of(fixture.cpus);
        // What is left of the bits above the number is for those that have lengths and counts there.
        const more = random.below(2) === 0 ? 0n : random.next64() & ~0x1ffffn;
        const number = numbers.length === 0 ? UNKNOWN_HYPERCALL : random.of(numbers) | more;
        const result = hypercall({ ...fixture, cpu }, number, ARGUMENTS.map(pick));
        assert.ok(result >= -(2n ** 63n) && result < 2n ** 63n);
      }
      for (const { id, interrupts } of fixture.cpus)
        for (const vector of interrupts!.requested)
          assert.ok(vector >= 0 && vector <= 0xff, `processor ${id} is interrupted with vector ${vector}`);
    },
  },
  {
    name: 'an interrupt for some processors reaches these and no others',
    processors: SEVERAL,
    needs: ({ guest }) => (guest.sendIpi ? undefined : 'no hypercall that interrupts other processors is known'),
    run(fixture) {
      const random = createRandom(0x697069n);
      for (let round = 0; round < 200; round++) {
        const from = random.of(fixture.cpus);
        const vector = 0x20 + random.below(0xe0);
        const meant = fixture.cpus.filter(() => random.below(2) === 0).map(({ id }) => id);
        fixture.guest.sendIpi!({ ...fixture, cpu: from }, meant, vector);
        for (const { id, interrupts } of fixture.cpus) {
          const expected = meant.includes(id) ? [vector] : [];
          assert.deepEqual([...interrupts!.requested], expected, `processor ${id} of ${meant} from ${from.id}`);
          interrupts!.requested.clear();
        }
      }
    },
  },
  {
    name: 'its clock is the same on every processor',
    processors: SEVERAL,
    needs: ({ guest }) => (guest.clock ? undefined : 'no guest half that reads a clock is known'),
    run(fixture) {
      const random = createRandom(0x636c6f636b73n);
      const clocks = fixture.cpus.map(cpu => {
        cpu.clock.advance(12_345_678);
        return fixture.guest.clock!({ ...fixture, cpu });
      });
      for (let step = 0; step < 100; step++) {
        const times = clocks.map(now => Number(now()));
        const apart = Math.max(...times) - Math.min(...times);
        const allowed = 1 + (fixture.guest.resolution ?? 1) + fixture.cpu.clock.now() / 2 ** 31;
        assert.ok(apart <= allowed, `${times} are ${apart} ns apart`);
        fixture.cpu.clock.advance(random.of([1, 1000, 1e6, 1e9]));
      }
    },
  },
  {
    name: 'a trace changes no answer',
    async run(fixture) {
      const operations: string[] = [];
      const other = await bootFixture(traced(fixture.module, crossing => void operations.push(crossing.operation)));
      for (const leaf of [0, 1, 0x40000000, 0x40000001, 0x80000007])
        assert.deepEqual(cpuid(other, leaf), cpuid(fixture, leaf));
      // Of one that stands on another, what the two said at the boot comes first.
      assert.deepEqual(operations.slice(-5), Array(5).fill('cpu.cpuid'));
      for (const [index, msr] of Object.entries(fixture.table.cpu.msrs)) {
        const twin = other.table.cpu.msrs[Number(index)];
        assert.equal(twin.write?.(other.cpu, FREE | 1n), msr.write?.(fixture.cpu, FREE | 1n));
        assert.equal(twin.read?.(other.cpu), msr.read?.(fixture.cpu));
      }
      if (callOp(fixture.table))
        assert.equal(hypercall(other, UNKNOWN_HYPERCALL), hypercall(fixture, UNKNOWN_HYPERCALL));
      assertSame(other.cpu.memory.bytes, fixture.cpu.memory.bytes);
    },
  },
  {
    name: 'what it keeps is data: saved and restored, another machine goes on the same',
    run: saveAndRestore,
  },
];
