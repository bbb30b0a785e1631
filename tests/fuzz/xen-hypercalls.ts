/**
 * Hostile guests of both Xens on a processor without an engine: sequences of hypercalls whose arguments are nearly right,
 * with scribbling over everything that a guest shares with Xen (rings, tables, event words) in between. After each
 * sequence, the promises that keep a guest inside its memory are checked, and that the hypervisor's state is data.
 */
import type { FakeProcessor } from '../../src/conformance/fake-processor.ts';
import { createFakeGuest, FREE, VIRTUAL_BASE } from '../../src/hypervisors/xen-pv/fake-guest.ts';
import { PGT_l1_page_table, PGT_l4_page_table, PGT_writable_page } from '../../src/hypervisors/xen-pv/page-info.ts';
import type { PvDomain } from '../../src/hypervisors/xen-pv/pv-domain.ts';
import { boot, MEMORY } from '../../src/hypervisors/xen-pvh/fake-guest.ts';
import { caseFuzzer, type Fuzzer, type Random } from './fuzzer.ts';

/** Steps of one input. */
const STEPS = 400;
/** Words that a step puts at its argument before it calls. */
const WORDS = 16;
/** Where arguments stand: guest-physical for PVH, and the frame for PV. */
const ARGUMENTS = 0x20000;

type Step =
  | { call: number; args: readonly (bigint | 'argument')[]; words: readonly bigint[] }
  /** A store of the guest's own: `where` is one of the places that it shares with Xen. */
  | { store: bigint; where: number; offset: number }
  | { wait: number };

interface Guest {
  cpu: FakeProcessor;
  call(number: number, ...values: bigint[]): number;
  /** The address of the arguments as the guest passes it. */
  argument: bigint;
  /** Guest-physical addresses of what the guest may scribble over. */
  places: readonly number[];
  /** True if the guest may write to its argument page. */
  mayArgue(): boolean;
  /** What is wrong with the hypervisor now; undefined if nothing is. */
  check(): string | undefined;
}

const SELF = 0x7ff0n;
/** Frames that mean something to one guest or the other, and some that mean nothing. */
const FRAMES = [
  0n,
  1n,
  0x20n,
  0x21n,
  0x100n,
  0x110n,
  BigInt(FREE),
  BigInt(FREE + 1),
  BigInt(FREE + 2),
  0xe00n,
  0xf00n,
  0xfffn,
  0x1000n,
  0x10000n,
  0x80000n,
  2n ** 32n - 1n,
  2n ** 40n,
  2n ** 64n - 1n,
];
const DOMAINS = [SELF, SELF, SELF, SELF, 1n, 1n, 0n, 5n, 0x7ff1n, 0xffffn];
const SMALL = [0n, 1n, 2n, 3n, 4n, 7n, 8n, 16n, 64n, 512n, 4095n, 4096n];
const ADDRESSES = [
  0n,
  VIRTUAL_BASE,
  VIRTUAL_BASE + 0x30000n,
  VIRTUAL_BASE + 0x3ffff8n,
  0xffff800000000000n,
  1n << 47n,
  2n ** 64n - 8n,
  0x30000n,
];

const number = (random: Random): bigint => {
  switch (random.below(8)) {
    case 0:
      return random.of(FRAMES);
    case 1:
      return random.of(ADDRESSES);
    case 2:
      return random.next64();
    case 3:
      return BigInt(random.below(1 << 16));
    default:
      return random.of(SMALL);
  }
};

/** Fields that lie next to each other in memory, as words of 64 bits. */
function pack(...fields: readonly [bits: number, value: bigint][]): bigint[] {
  let all = 0n;
  let at = 0n;
  for (const [bits, value] of fields) {
    const align = BigInt(bits);
    at = ((at + align - 1n) / align) * align;
    all |= BigInt.asUintN(bits, value) << at;
    at += align;
  }
  return Array.from({ length: Number((at + 63n) / 64n) }, (_, i) => BigInt.asUintN(64, all >> BigInt(64 * i)));
}

/** Hypercalls as a guest makes them that knows the structures. */
const LAYOUTS: readonly ((random: Random) => { call: number; args: (bigint | 'argument')[]; words: bigint[] })[] = [
  // event_channel_op: most structures are two or three words of 32 bits.
  random => ({
    call: 32,
    args: [BigInt(random.below(15)), 'argument'],
    words: pack([32, random.of(SMALL)], [32, random.of(SMALL)], [32, random.of(SMALL)]),
  }),
  random => ({
    call: 32,
    args: [random.of([0n, 5n, 6n, 10n]), 'argument'],
    words: pack([16, random.of(DOMAINS)], [16, random.of(DOMAINS)], [32, random.of(SMALL)]),
  }),
  random => ({
    call: 32,
    args: [random.of([11n, 12n]), 'argument'],
    words: pack([64, random.of(FRAMES)], [32, random.of(SMALL)], [32, 0n]),
  }),
  // Grants: mapping and its end, copies, versions, the rest.
  random => ({
    call: 20,
    args: [0n, 'argument', 1n],
    words: pack(
      [64, random.of([...ADDRESSES, 0x10000000n, 0x30000n])],
      [32, BigInt(random.of([1, 2, 3, 6, 7, 18, 26]))],
      [32, BigInt(random.below(12))],
      [16, random.of(DOMAINS)],
    ),
  }),
  random => ({
    call: 20,
    args: [random.of([1n, 7n]), 'argument', 1n],
    words: pack(
      [64, random.of([...ADDRESSES, 0x10000000n])],
      [64, random.of([0n, 0n, ...ADDRESSES])],
      [32, BigInt(random.below(6))],
    ),
  }),
  random => ({
    call: 20,
    args: [5n, 'argument', 1n],
    words: [
      random.of([...FRAMES, ...SMALL]),
      ...pack([16, random.of(DOMAINS)], [16, random.of(SMALL)]),
      random.of([...FRAMES, ...SMALL]),
      ...pack([16, random.of(DOMAINS)], [16, random.of(SMALL)]),
      ...pack([16, random.of(SMALL)], [16, BigInt(random.below(4))]),
    ],
  }),
  random => ({
    call: 20,
    args: [random.of([2n, 6n, 8n, 9n, 10n, 11n, 12n]), 'argument', 1n],
    words: [number(random), number(random), number(random)],
  }),
  random => ({ call: 20, args: [8n, 'argument', 0n], words: [BigInt(1 + random.below(2))] }),
  // memory_op: extents of one frame, whose list stands behind the structure; placing.
  random => ({
    call: 12,
    args: [random.of([0n, 1n, 6n]), 'argument'],
    words: [BigInt(ARGUMENTS + 64), 1n, BigInt(random.below(3)), SELF, 0n, 0n, 0n, 0n, random.of(FRAMES)],
  }),
  random => ({
    call: 12,
    args: [random.of([7n, 15n]), 'argument'],
    words: [
      ...pack([16, random.of(DOMAINS)], [16, 1n], [32, BigInt(random.below(6))]),
      random.of([...SMALL, 1n << 31n]),
      random.of([...FRAMES, 0x10000n, 0x10001n]),
    ],
  }),
  random => ({
    call: 12,
    args: [BigInt(random.below(32)), 'argument'],
    words: [number(random), number(random), number(random), random.of(DOMAINS)],
  }),
  // vcpu_op and the other ways to a timer.
  random => ({
    call: 24,
    args: [BigInt(random.below(15)), BigInt(random.below(2)), 'argument'],
    words: [random.of([...FRAMES, ...ADDRESSES]), random.of(SMALL)],
  }),
  random => ({
    call: 29,
    args: [random.of([0n, 1n, 3n, 4n, 5n, 7n]), 'argument'],
    words: [BigInt(ARGUMENTS + 32), BigInt(random.below(3)), BigInt(random.below(1e9)), 0n, BigInt(random.below(8))],
  }),
  // hvm_op, physdev_op, and those of a toolstack.
  random => ({
    call: 34,
    args: [random.of([0n, 1n, 5n, 9n, 10n, 23n, 24n]), 'argument'],
    words: [
      ...pack([16, random.of(DOMAINS)], [32, BigInt(random.below(40))]),
      random.of([0n, (2n << 56n) | 0xf3n, number(random)]),
    ],
  }),
  random => ({ call: 33, args: [BigInt(random.below(33)), 'argument'], words: [random.of([...FRAMES, ...SMALL])] }),
  random => ({
    call: random.of([7, 35, 36, 49]),
    args: ['argument'],
    words: pack([32, BigInt(random.below(80))], [32, random.of([0x15n, 0x03000001n, 0n])], [16, random.of(DOMAINS)]),
  }),
  // PV: page tables, by entries that are nearly right, and pins.
  random => ({
    call: 1,
    args: ['argument', 1n, 0n, SELF],
    words: [
      (random.of(FRAMES) << 12n) | BigInt(random.below(512) * 8 + random.below(3)),
      (random.of(FRAMES) << 12n) | random.of([0n, 0x61n, 0x63n, 0x67n, 0x1e7n, 0x27n]),
    ],
  }),
  random => ({
    call: 14,
    args: [
      random.of(ADDRESSES) + BigInt(random.below(64) * 4096),
      (random.of(FRAMES) << 12n) | random.of([0n, 0x61n, 0x63n, 0x67n]),
      0n,
    ],
    words: [],
  }),
  random => ({
    call: 26,
    args: ['argument', 1n, 0n, SELF],
    words: [BigInt(random.below(21)), random.of([...FRAMES, ...ADDRESSES]), random.of(FRAMES)],
  }),
  random => ({
    call: 13,
    args: ['argument', 1n],
    words: [
      BigInt(random.below(50)),
      0n,
      number(random),
      BigInt(ARGUMENTS + 64),
      number(random),
      number(random),
      0n,
      0n,
      number(random),
      number(random),
    ],
  }),
  // Anything.
  random => ({
    call: random.below(60),
    args: [number(random), random.below(2) ? 'argument' : number(random), number(random), number(random)],
    words: [number(random), number(random), number(random), number(random)],
  }),
];

function makeStep(random: Random): Step {
  switch (random.below(8)) {
    case 0:
      return {
        store: random.below(3)
          ? number(random)
          : BigInt(1 + random.below(32)) | (1n << 16n) | (random.of(FRAMES) << 32n),
        where: random.below(64),
        offset: 8 * random.below(random.of([16, 512])),
      };
    case 1:
      return random.below(4)
        ? { store: BigInt(random.below(64)), where: random.below(64), offset: 0xc00 + 4 * random.below(8) }
        : { wait: random.of([1, 1000, 1e6, 1e9]) };
    default: {
      const step = random.of(LAYOUTS)(random);
      // Now and then one of them is not what it should be.
      if (random.below(6) === 0 && step.words.length) step.words[random.below(step.words.length)] = number(random);
      if (random.below(12) === 0) step.args[random.below(step.args.length)] = number(random);
      return step;
    }
  }
}

function perform(guest: Guest, step: Step): void {
  const { memory, clock } = guest.cpu;
  if ('wait' in step) {
    clock.advance(step.wait);
  } else if ('store' in step) {
    memory.write64(
      guest.places[step.where % guest.places.length]! + (step.offset & 0xff8),
      BigInt.asUintN(64, step.store),
    );
  } else {
    for (let i = 0; i < WORDS && guest.mayArgue(); i++) memory.write64(ARGUMENTS + 8 * i, step.words[i] ?? 0n);
    guest.call(step.call, ...step.args.map(value => (value === 'argument' ? guest.argument : value)));
  }
}

/** A machine is reused: each input begins with what a new domain is. */
async function pvhGuest(): Promise<Guest> {
  const { cpu, call, parameter } = await boot();
  const { memory } = cpu;
  const reserved = MEMORY - (1 << 20);
  const rings = [parameter(1), parameter(17)].map(frame => frame * 4096);
  // Past the shared pages and the ACPI tables there is nothing, and nothing may come there.
  const unused = reserved + 128 * 4096;
  return {
    cpu,
    argument: BigInt(ARGUMENTS),
    call: (number, ...values) => call(number, ...values),
    mayArgue: () => true,
    places: [
      ...rings,
      ...FRAMES.filter(frame => frame > 0n && frame < 0xe00n).map(frame => Number(frame) * 4096),
      0xe00000,
    ],
    check() {
      for (let at = unused; at < MEMORY; at += 8)
        if (memory.read64(at) !== 0n) return `memory of the hypervisor’s at 0x${at.toString(16)} has changed`;
      return undefined;
    },
  };
}

async function pvGuest(): Promise<Guest> {
  const { cpu, call, pv } = await createFakeGuest();
  const { consoleRing, xenstoreRing, sharedInfo, grants } = pv.domain;
  const shared = [consoleRing, xenstoreRing, sharedInfo, ...grants.frames].map(({ address }) => address);
  // The guest's own stores go through its page tables: only to frames that are nobody's tables.
  const own = [FREE, FREE + 1, FREE + 2].map(frame => frame * 4096);
  const writable = (address: number) => {
    const frame = address / 4096;
    return pv.info.isOwned(frame) && (pv.info.typeCount[frame] === 0 || pv.info.type[frame] === PGT_writable_page);
  };
  return {
    cpu,
    argument: VIRTUAL_BASE + BigInt(ARGUMENTS),
    call: (number, ...values) => call(number, ...values),
    mayArgue: () => writable(ARGUMENTS),
    get places() {
      return [...shared, ...own].filter(writable);
    },
    check: () => checkPageTables(pv),
  };
}

/** What a PV guest's page tables may hold, whatever it did: no way to write to a table, and nothing that is not its own. */
function checkPageTables({ info }: PvDomain): string | undefined {
  const { typeCount, type, references, words, frames } = info;
  for (let frame = 0; frame < frames; frame++) {
    if (typeCount[frame] > references[frame])
      return `frame ${frame}: ${typeCount[frame]} uses of its type, ${references[frame]} references`;
    if (typeCount[frame] === 0 || type[frame] < PGT_l1_page_table || type[frame] > PGT_l4_page_table) continue;
    for (let index = 0; index < 512; index++) {
      if (type[frame] === PGT_l4_page_table && index >= 256 && index < 272) continue;
      const low = words[frame * 1024 + 2 * index];
      const high = words[frame * 1024 + 2 * index + 1];
      if ((low & 1) === 0) continue;
      const target = low >>> 12;
      const at = `entry ${index} of table ${frame} (${high.toString(16)} ${low.toString(16)})`;
      if (high & 0xfffff || !info.isOwned(target)) return `${at} points to a frame that is not the guest’s`;
      if (typeCount[target] === 0 && (type[frame] !== PGT_l1_page_table || low & 2))
        return `${at}: frame ${target} has no type`;
      if (type[frame] === PGT_l1_page_table && low & 2 && type[target] !== PGT_writable_page)
        return `${at} lets the guest write to a page of type ${type[target]}`;
      if (type[frame] > PGT_l1_page_table && target !== frame && type[target] !== type[frame] - 1)
        return `${at} points to a page of type ${type[target]}`;
    }
  }
  return undefined;
}

function xenFuzzer(kind: string, create: () => Promise<Guest>): Fuzzer {
  return caseFuzzer<readonly Step[]>({
    name: `${kind}-hypercalls`,
    description: `${STEPS} hypercalls of a hostile guest of ${kind}, and stores into what it shares, on a processor without an engine`,
    make: random => Array.from({ length: STEPS }, () => makeStep(random)),
    async judge(steps) {
      const guest = await create();
      for (const step of steps) {
        perform(guest, step);
        // A guest that was ended does nothing more.
        if (guest.cpu.kills.length + guest.cpu.requests.length > 0) break;
      }
      const wrong = guest.check();
      if (wrong) return wrong;
      const saved = guest.cpu.states.save();
      guest.cpu.states.restore(saved);
      return undefined;
    },
    *smaller(steps) {
      for (let size = steps.length >> 1; size > 0; size >>= 1)
        for (let at = 0; at < steps.length; at += size) yield [...steps.slice(0, at), ...steps.slice(at + size)];
    },
    show: steps => steps.map(showStep).join('\n'),
  });
}

function showStep(step: Step): string {
  if ('wait' in step) return `wait ${step.wait} ns`;
  if ('store' in step)
    return `store 0x${step.store.toString(16)} at place ${step.where} + 0x${step.offset.toString(16)}`;
  const args = step.args.map(value => (value === 'argument' ? value : `0x${value.toString(16)}`));
  const words = step.words.map(word => `0x${word.toString(16)}`);
  return `hypercall ${step.call}(${args.join(', ')})${words.length ? ` with argument = [${words.join(', ')}]` : ''}`;
}

export const xenPvhHypercalls = xenFuzzer('xen-pvh', pvhGuest);
export const xenPvHypercalls = xenFuzzer('xen-pv', pvGuest);
