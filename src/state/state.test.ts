import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StateStore, type StateTree, scoped } from './state.ts';

function make() {
  const store = new StateStore();
  const state = store.state('chip', 1, () => ({
    enabled: false,
    count: 0,
    base: 0n,
    mode: 'idle',
    due: undefined as number | undefined,
    registers: new Uint8Array(4),
    fifo: [] as number[],
    timers: [{ period: 1 }, { period: 2 }],
    mapped: new Map<number, { page: number }>(),
    seen: new Set<string>(),
  }));
  return { store, state };
}

function change(state: ReturnType<typeof make>['state']): void {
  state.enabled = true;
  state.count = 7;
  state.base = 1n << 63n;
  state.mode = 'busy';
  state.due = 12.5;
  state.registers[2] = 0xaa;
  state.fifo.push(1, 2, 3);
  state.timers[1].period = 9;
  state.mapped.set(3, { page: 4 });
  state.seen.add('x');
}

test('what is saved is restored into another store, and shares nothing with either', () => {
  const one = make();
  change(one.state);
  const tree = one.store.save();
  const expected = structuredClone(tree);
  one.state.registers[2] = 1;
  one.state.fifo.push(4);
  one.state.mapped.get(3)!.page = 5;
  const two = make();
  two.store.restore(tree);
  assert.deepEqual(two.store.save(), expected);
  two.state.timers[1].period = 10;
  two.state.registers[0] = 1;
  assert.deepEqual(tree, expected);
});

test('initialise puts the beginning in place of the content, in the same object', () => {
  const { store, state } = make();
  const fresh = store.save();
  change(state);
  assert.notDeepEqual(store.save(), fresh);
  state.initialise();
  assert.deepEqual(store.save(), fresh);
  change(state);
  assert.equal(state.count, 7, 'the second beginning is as fresh as the first');
  state.initialise();
  assert.deepEqual([...state.registers], [0, 0, 0, 0]);
  assert.equal(Object.keys(state).includes('initialise'), false);
});

test('a name is taken once; scopes keep names apart', () => {
  const store = new StateStore();
  store.state('uart', 1, () => ({}));
  assert.throws(() => store.state('uart', 1, () => ({})), /state uart: the name is taken/);
  store.scope('pci/1').state('uart', 1, () => ({}));
  scoped(store.scope('pci/1'), 'queue').state('uart', 1, () => ({}));
  assert.deepEqual(Object.keys(store.save()), ['uart', 'pci/1/uart', 'pci/1/queue/uart']);
});

test('what is not data is not saved', () => {
  class Queue {
    length = 0;
  }
  for (const [value, message] of [
    [() => 0, /state x\.a\.b: function is not data/],
    [new Queue(), /state x\.a\.b: Queue is not data/],
    [null, /state x\.a\.b: null is not data/],
    [new Date(), /state x\.a\.b: Date is not data/],
    [new DataView(new ArrayBuffer(1)), /state x\.a\.b: DataView is not data/],
    [[1, new Queue()], /state x\.a\.b\[1\]: Queue is not data/],
    [new Map([['k', Symbol('s')]]), /state x\.a\.b\(k\): symbol is not data/],
    [JSON.parse('{"__proto__": 1}'), /__proto__/],
  ] as const) {
    const store = new StateStore();
    store.state('x', 1, () => ({ a: { b: value } }));
    assert.throws(() => store.save(), message);
  }
  const circle: { again?: unknown } = {};
  circle.again = circle;
  const store = new StateStore();
  store.state('x', 1, () => ({ circle }));
  assert.throws(() => store.save(), /nested more than/);
  assert.throws(() => store.state('y', 1, () => new Map()), /a state is a plain object, not Map/);
});

test('a member that left the type it began with is noticed when it is saved', () => {
  const store = new StateStore();
  const state = store.state('x', 1, () => ({ count: 0 as number | undefined }));
  state.count = undefined;
  assert.throws(() => store.save(), /state x\.count: undefined where it began as number/);
});

test('a tree of another machine is refused, and nothing is replaced then', () => {
  const { store, state } = make();
  change(state);
  const good = store.save();
  const value = (changes: object): StateTree => ({
    chip: { version: 1, value: { ...Object(good.chip.value), ...changes } },
  });
  const { count: _, ...rest } = Object(good.chip.value);
  for (const [tree, message] of [
    [{}, /state chip: missing/],
    [{ ...good, fan: good.chip }, /state fan: this machine has none/],
    [{ chip: { ...good.chip, version: 2 } }, /state chip: saved as version 2; this machine has version 1/],
    [value({ count: '7' }), /state chip\.count: string where it began as number/],
    [value({ count: Number.NaN }), /state chip\.count: not a number/],
    [value({ fifo: [Number.NaN] }), /state chip\.fifo\[0\]: not a number/],
    [value({ count: Number.POSITIVE_INFINITY }), /state chip\.count: Infinity is not finite/],
    [value({ registers: new Uint16Array(4) }), /state chip\.registers: Uint16Array where it began as Uint8Array/],
    [value({ registers: new Uint8Array(3) }), /state chip\.registers: 3 elements where it began with 4/],
    [value({ timers: [{ period: 1 }] }), /state chip\.timers: 1 elements/],
    [value({ timers: [{ period: 1 }, { period: 2n }] }), /state chip\.timers\[1\]\.period: bigint/],
    [value({ fifo: [() => 0] }), /state chip\.fifo\[0\]: function is not data/],
    [value({ more: 1 }), /state chip: no member more/],
    [{ chip: { version: 1, value: rest } }, /state chip: member count is missing/],
  ] as [StateTree, RegExp][]) {
    assert.throws(() => store.restore(tree), message);
    assert.deepEqual(store.save(), good);
  }
});
