/**
 * Snapshots in which values have been exchanged for others of their kind: each is refused with a `SnapshotError`, or makes a guest
 * that runs and ends like any. Nothing else is thrown, and nothing hangs.
 */
import { tinyKernel } from '../../src/conformance/tiny-elf.ts';
import { createMachine, type Data, Snapshot, SnapshotError } from '../../src/index.ts';
import { caseFuzzer, type Random } from './fuzzer.ts';

const MEMORY = 16 << 20;
const HYPERVISORS = ['bare', 'kvm', 'hyperv', 'vmware', 'vmi', 'xen-pvh'];
/** Executed before the snapshot, and after the restore. */
const BEFORE = 5_000;
const AFTER = 50_000;

const u32 = (value: number) => [0, 8, 16, 24].map(shift => (value >>> shift) & 0xff);
/** Writes to the console, counts with its local APIC's timer running, and starts again. */
const GUEST = tinyKernel([
  ...[0xbc, ...u32(0x700000)],
  ...[0xc7, 0x05, ...u32(0xfee000f0), ...u32(0x1ff)],
  ...[0xc7, 0x05, ...u32(0xfee00320), ...u32(0x20040)],
  ...[0xc7, 0x05, ...u32(0xfee00380), ...u32(5000)],
  ...[0x66, 0xba, 0xf8, 0x03, 0xb0, 0x2e, 0xee], // mov dx, 3f8h; mov al, '.'; out dx, al
  ...[0xb9, ...u32(500), 0xe2, 0xfe], // mov ecx, 500; loop to itself
  ...[0xeb, 0xf0],
]);

/** One exchange: the `number`th value of the tree, in the order in which it is walked, becomes another. */
interface Exchange {
  number: number;
  seed: number;
}
interface Input {
  hypervisor: string;
  exchanges: Exchange[];
}

const NUMBERS = [
  0,
  1,
  -1,
  2,
  7,
  255,
  4096,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 53,
  -0.5,
  1e300,
  Number.NaN,
  Number.POSITIVE_INFINITY,
];
const INTEGERS = [0n, 1n, -1n, 0xfffn, 2n ** 31n, 2n ** 32n, 2n ** 47n, 2n ** 63n, 2n ** 64n - 1n, 2n ** 64n];

/** Another value, of the same kind for the most part. */
function other(value: Data, seed: number): Data {
  const of = <T>(values: readonly T[]) => values[seed % values.length]!;
  if (seed % 50 === 49) return of<Data>([undefined, 5, 5n, 'x', [], new Map(), {}]);
  if (typeof value === 'number') return of([...NUMBERS, value + 1, value ^ (1 << (seed % 31))]);
  if (typeof value === 'bigint') return of([...INTEGERS, value ^ (1n << BigInt(seed % 64))]);
  if (typeof value === 'boolean') return !value;
  if (typeof value === 'string') return of(['', 'unbound', `${value}x`, '../x']);
  if (ArrayBuffer.isView(value)) {
    const copy = (value as Uint8Array).slice();
    for (const index of [seed % Math.max(copy.length, 1), 0]) {
      const old: number | bigint | undefined = copy[index];
      if (typeof old === 'bigint') (copy as unknown as BigUint64Array)[index] = BigInt(seed);
      else if (old !== undefined) copy[index] = seed;
    }
    return copy;
  }
  return of<Data>([5, undefined, new Map([[7, { page: 1 }]]), [1, 2, 3]]);
}

/** A copy of `tree` with the exchanges, and how many values it has. */
function exchanged(tree: Data, exchanges: readonly Exchange[]): { result: Data; count: number } {
  let count = 0;
  const walk = (value: Data, depth = 0): Data => {
    // The tree itself, and the tables of states and processors, are the container's.
    const number = depth < 2 ? -1 : count++;
    const found = exchanges.find(exchange => exchange.number === number);
    if (found) return other(value, found.seed);
    if (Array.isArray(value)) return value.map(member => walk(member, depth + 1));
    if (value instanceof Map) return new Map([...value].map(([key, member]) => [key, walk(member, depth + 1)]));
    if (value instanceof Set || typeof value !== 'object' || ArrayBuffer.isView(value)) return value;
    return Object.fromEntries(
      Object.entries(value as { [name: string]: Data }).map(([name, member]) => [name, walk(member, depth + 1)]),
    );
  };
  return { result: walk(tree), count };
}

const taken = new Map<string, Promise<Snapshot>>();
function snapshotOf(hypervisor: string): Promise<Snapshot> {
  const known = taken.get(hypervisor) ?? take(hypervisor);
  taken.set(hypervisor, known);
  return known;
}
async function take(hypervisor: string): Promise<Snapshot> {
  const machine = await createMachine({ kernel: GUEST, hypervisor, memory: MEMORY, engine: 'interpreter' });
  await machine.run({ instructions: BEFORE });
  return machine.snapshot();
}

const treeOf = ({ states, processors }: Snapshot) => ({ states, processors: [...processors] }) as unknown as Data;

async function judge({ hypervisor, exchanges }: Input): Promise<string | undefined> {
  const { header, memory, ...known } = await snapshotOf(hypervisor);
  const tree = treeOf({ header, memory, ...known } as Snapshot);
  const { count } = exchanged(tree, []);
  const wrapped = exchanges.map(({ number, seed }) => ({ number: number % count, seed }));
  const changed = exchanged(tree, wrapped).result as unknown as Pick<Snapshot, 'states' | 'processors'>;
  try {
    // As a file brings it, so that the checks of the container have their say.
    const file = await new Snapshot(header, changed, memory).encode();
    const snapshot = await Snapshot.decode(file);
    const machine = await createMachine({ snapshot, engine: 'interpreter' });
    await machine.run({ instructions: AFTER });
    return undefined;
  } catch (error) {
    return error instanceof SnapshotError
      ? undefined
      : `throws ${error instanceof Error ? error.stack : String(error)}`;
  }
}

export const snapshots = caseFuzzer<Input>({
  name: 'snapshots',
  description: 'snapshots with values exchanged are refused, or make a guest like any',
  make: (random: Random) => ({
    hypervisor: random.of(HYPERVISORS),
    exchanges: Array.from({ length: 1 + random.below(4) }, () => ({
      number: random.below(1 << 20),
      seed: random.below(1 << 30),
    })),
  }),
  judge,
  *smaller({ hypervisor, exchanges }) {
    for (const left of exchanges)
      if (exchanges.length > 1) yield { hypervisor, exchanges: exchanges.filter(each => each !== left) };
  },
  show: ({ hypervisor, exchanges }) => `${hypervisor}: ${JSON.stringify(exchanges)}`,
});
