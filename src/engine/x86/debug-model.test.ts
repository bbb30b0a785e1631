/** The rules of debug exceptions, a line of the manuals each (debug-model.ts). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DR6_BD, DR6_BS } from '../../x86/control.ts';
import { RF, TF } from '../../x86/flags.ts';
import { debugStatus, type Executed, nextAtBoundary, resumeFlagAfter, trapsAfter } from './debug-model.ts';
import { rows } from './instructions/table.ts';

const plain: Executed = {
  traits: {},
  flagsBefore: 0,
  flagsAfter: 0,
  faulted: false,
  stays: false,
  goesOn: true,
  stepsBranches: false,
  loadedStack: false,
  hits: 0,
  held: 0,
};

test('at a boundary traps come before interrupts; MOV SS holds off both, STI interrupts', () => {
  assert.equal(nextAtBoundary(DR6_BS, 'none'), 'trap');
  assert.equal(nextAtBoundary(0, 'none'), 'interrupts');
  assert.equal(nextAtBoundary(DR6_BS, 'interrupts'), 'trap');
  assert.equal(nextAtBoundary(0, 'interrupts'), 'instruction');
  assert.equal(nextAtBoundary(DR6_BS | 1, 'interrupts and traps'), 'instruction');
  assert.equal(nextAtBoundary(0, 'interrupts and traps'), 'instruction');
});

test('TF before an instruction makes the single-step trap; for system calls and software interrupts TF after it does', () => {
  const byNew = { stepsByNewTf: true } as const;
  for (const [traits, flagsBefore, flagsAfter, trap] of [
    [{}, TF, TF, DR6_BS],
    [{}, TF, 0, DR6_BS], // POPF clears it
    [{}, 0, TF, 0], // POPF, IRET
    [byNew, TF, TF, DR6_BS], // SYSCALL that FMASK does not keep from it
    [byNew, TF, 0, 0], // SYSCALL that it does; INT n
    [byNew, 0, TF, DR6_BS], // SYSRET
  ] as const)
    assert.equal(trapsAfter({ ...plain, traits, flagsBefore, flagsAfter }), trap);
});

test('with IA32_DEBUGCTL.BTF branches that are taken are stepped over, and nothing else is', () => {
  const stepped = { ...plain, flagsBefore: TF, flagsAfter: TF, stepsBranches: true };
  const branches = { branches: true } as const;
  assert.equal(trapsAfter(stepped), 0);
  assert.equal(trapsAfter({ ...stepped, traits: branches }), 0, 'a branch that is not taken');
  assert.equal(trapsAfter({ ...stepped, traits: branches, goesOn: false }), DR6_BS);
  assert.equal(trapsAfter({ ...stepped, goesOn: false }), 0, 'a string instruction');
  assert.equal(trapsAfter({ ...stepped, hits: 2 }), 2, 'breakpoints are as they were');
});

test('MOV SS loses its single step and keeps its data breakpoints; what faults keeps only what was held off', () => {
  const stepped = { ...plain, flagsBefore: TF, flagsAfter: TF };
  assert.equal(trapsAfter({ ...stepped, loadedStack: true, hits: 4 }), 4);
  assert.equal(trapsAfter({ ...stepped, held: 4, hits: 1 }), DR6_BS | 5);
  assert.equal(trapsAfter({ ...stepped, flagsAfter: 0, faulted: true, held: 4, hits: 1 }), 4);
});

test('RF is clear after an instruction that does not load it, and set between the elements of a string', () => {
  const set = { ...plain, flagsAfter: RF };
  assert.equal(resumeFlagAfter(set), 0);
  assert.equal(resumeFlagAfter({ ...set, traits: { loadsRf: true } }), RF);
  assert.equal(resumeFlagAfter({ ...plain, traits: { loadsRf: true } }), 0);
  assert.equal(resumeFlagAfter({ ...plain, traits: { repeats: true }, stays: true }), RF);
  assert.equal(resumeFlagAfter({ ...set, traits: { repeats: true } }), 0);
  assert.equal(resumeFlagAfter({ ...plain, stays: true }), 0, 'a jump to itself');
  assert.equal(resumeFlagAfter({ ...plain, faulted: true, traits: { repeats: true }, stays: true }), 0);
});

test('a debug exception clears B0-B3 of DR6 and no other bit', () => {
  assert.equal(debugStatus(0xffff0fff | DR6_BD, DR6_BS), 0xffff0ff0 + DR6_BD + DR6_BS);
  assert.equal(debugStatus(0xffff0ff2 | DR6_BS, 1), 0xffff0ff1 + DR6_BS);
});

test('the table says it of the instructions that the manuals name', () => {
  const named = (trait: 'stepsByNewTf' | 'loadsRf' | 'repeats') => [
    ...new Set(rows.filter(({ debug }) => debug?.[trait]).map(({ name }) => name)),
  ];
  assert.deepEqual(named('stepsByNewTf').sort(), ['int', 'int1', 'int3', 'into', 'syscall', 'sysret']);
  assert.deepEqual(named('loadsRf').sort(), ['callf', 'int', 'int1', 'int3', 'into', 'iret', 'jmpf']);
  assert.ok(named('repeats').every(name => name.startsWith('rep')));
  assert.equal(named('repeats').length, 9);
});
