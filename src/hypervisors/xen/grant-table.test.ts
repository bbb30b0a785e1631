import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fakeDomain } from './fake-domain.ts';

const FRAME = 7;
const PERMIT = 1;
const READONLY = 4;
const READING = 8;
const WRITING = 16;

function setUp() {
  const held: string[] = [];
  const { domain } = fakeDomain({
    hold(domain, number, write) {
      const address = domain.kind.frame(domain, number, write);
      if (address !== undefined) held.push(`hold ${number} ${write}`);
      return address;
    },
    release: (_, address, write) => held.push(`release ${address >>> 12} ${write}`),
  });
  const { grants, memory } = domain;
  const entry = (reference: number) => grants.frames[reference >> 9]!.address + (reference & 511) * 8;
  const grant = (reference: number, flags: number, domid = 0, number = FRAME) => {
    memory.write16(entry(reference), flags);
    memory.write16(entry(reference) + 2, domid);
    memory.write32(entry(reference) + 4, number);
  };
  return { domain, grants, held, grant, flags: (reference: number) => memory.read16(entry(reference)) };
}

test('a grant in use shows it, and no longer when the last user is gone', () => {
  const { grants, grant, flags, held } = setUp();
  grant(8, PERMIT);
  const reader = grants.map(8, false)!;
  assert.equal(reader.address, FRAME * 4096);
  assert.equal(flags(8), PERMIT | READING);
  const writer = grants.map(8, true)!;
  assert.equal(flags(8), PERMIT | READING | WRITING);
  grants.unmap(reader);
  grants.unmap(reader);
  assert.equal(flags(8), PERMIT | READING | WRITING, 'once is once');
  grants.unmap(writer);
  assert.equal(flags(8), PERMIT);
  assert.deepEqual(held, [
    `hold ${FRAME} false`,
    `hold ${FRAME} true`,
    `release ${FRAME} false`,
    `release ${FRAME} true`,
  ]);
});

test('what is not granted is not mapped', () => {
  const { grants, grant, domain } = setUp();
  const cases: [flags: number, domid: number, frame: number, write: boolean][] = [
    [0, 0, FRAME, false],
    [2, 0, FRAME, false],
    [3, 0, FRAME, false],
    [PERMIT, 1, FRAME, false],
    [PERMIT, 0x7ff0, FRAME, false],
    [PERMIT | READONLY, 0, FRAME, true],
    [PERMIT, 0, domain.pages, true],
    [PERMIT, 0, 0xffffffff, true],
  ];
  for (const [flags, domid, frame, write] of cases) {
    grant(9, flags, domid, frame);
    assert.equal(grants.map(9, write), undefined, `flags ${flags} domain ${domid} frame ${frame}`);
  }
  grant(9, PERMIT | READONLY);
  assert.ok(grants.map(9, false));
});

test('references past the end of the table, whole or not', () => {
  const { grants, grant } = setUp();
  for (const reference of [512, 513, 64 * 512, 0xffffffff, -1, 1.5, Number.NaN])
    assert.equal(grants.map(reference, false), undefined, String(reference));
  assert.equal(grants.grow(2), true);
  grant(600, PERMIT);
  assert.ok(grants.map(600, true));
  assert.equal(grants.grow(65), false);
  assert.equal(grants.frames.length, 2);
});

test('an entry changed while in use does not confuse its end', () => {
  const { grants, grant, flags, held } = setUp();
  grant(8, PERMIT);
  const page = grants.map(8, true)!;
  grant(8, 0, 5, 99);
  grants.unmap(page);
  assert.equal(flags(8), 0);
  assert.deepEqual(held.at(-1), `release ${FRAME} true`);
});
