import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judgeForBisect } from './bisect.ts';
import { type Change, cellWithoutBoot, VERDICTS, type Verdict } from './result.ts';
import { exampleReport, passedCell } from './testing.ts';

const slower: Change = { what: 'test disk, instructions', before: '1', after: '2', worse: true };

function judged(tested: Verdict, control: Verdict, changes?: Change[], controlChanges?: Change[]) {
  const cell = (hypervisor: string, verdict: Verdict) =>
    verdict === 'passed' ? passedCell('k', hypervisor, 1) : cellWithoutBoot('k', hypervisor, verdict, 'why');
  const cells = [
    { ...cell('x', tested), ...(changes && { changes }) },
    { ...cell('plain', control), ...(controlChanges && { changes: controlChanges }) },
  ];
  return judgeForBisect({ ...exampleReport(), cells }, 'plain');
}

test('a kernel is good, bad, or not to be judged', () => {
  const skipped = ['not built for it', 'unusable', 'died'];
  for (const verdict of Object.keys(VERDICTS) as Verdict[]) {
    const expected = verdict === 'passed' ? 'good' : skipped.includes(verdict) ? 'skip' : 'bad';
    assert.equal(judged(verdict, 'passed').word, expected, verdict);
    // The test is not the boot: what fails it everywhere is still looked for.
    assert.equal(judged(verdict, 'failed').word, expected, verdict);
    if (verdict !== 'passed' && verdict !== 'failed') assert.equal(judged('panicked', verdict).word, 'skip', verdict);
  }
  assert.deepEqual(judged('hung', 'passed'), { word: 'bad', reason: 'k on x: hung: why' });
  assert.deepEqual(judged('hung', 'panicked'), { word: 'skip', reason: 'k on plain, the control: panicked: why' });
});

test('what is worse than the baseline is bad, but not if it is the control', () => {
  const { word, reason } = judged('passed', 'passed', [slower]);
  assert.deepEqual([word, reason], ['bad', 'k on x: worse than the baseline: test disk, instructions: 1 -> 2']);
  assert.equal(judged('passed', 'passed', [{ ...slower, worse: false }]).word, 'good');
  assert.equal(judged('passed', 'passed', undefined, [slower]).word, 'good');
});
