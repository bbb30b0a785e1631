import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { cellWithoutBoot, NO_COST } from '../matrix/result.ts';
import type { CellSpec } from './cell.ts';
import { createMatrixView } from './matrix-view.ts';

/** A terminal that keeps what is written: cursor up, carriage return, erase to the end, line feed, as the view uses them. */
function terminal(columns: number, rows: number) {
  let lines: string[] = [''];
  let at = 0;
  const stream = {
    isTTY: true,
    columns,
    rows,
    write(text: string) {
      for (const [index, piece] of text.split('\x1b').entries()) {
        const [sequence = '', count, command] = (index > 0 && /^\[(\d*)([AJm])/.exec(piece)) || [];
        assert.ok(index === 0 || command, JSON.stringify(piece));
        if (command === 'A') at = Math.max(0, at - Number(count));
        if (command === 'J') lines = [...lines.slice(0, at), ''];
        for (const character of piece.slice(sequence.length))
          if (character === '\n') lines[++at] ??= '';
          else if (character !== '\r') lines[at] += character;
      }
      return true;
    },
  };
  /** As terminals do that keep their lines: what is too long goes on in the next one. */
  const resize = (width: number) => {
    stream.columns = width;
    lines = lines.flatMap(line => line.match(new RegExp(`.{1,${width}}`, 'g')) ?? ['']);
    at = lines.length - 1;
  };
  return { stream: stream as unknown as NodeJS.WriteStream, resize, lines: () => lines.filter(line => line !== '') };
}

const spec = (hypervisor: string, kernel = 'Linux'): CellSpec => ({ kernel, hypervisor }) as CellSpec;
const result = (hypervisor: string, reason = '') => cellWithoutBoot('Linux', hypervisor, 'not built for it', reason);
const wait = () => new Promise(resolve => setTimeout(resolve, 500));

describe('the rows of a matrix in a terminal', () => {
  test('what a guest prints moves no cursor and breaks no line', async () => {
    const { stream, lines } = terminal(60, 20);
    const view = createMatrixView([spec('good'), spec('other')], stream);
    view.started(0);
    view.progress(0, {
      phase: 'drivers',
      line: '[    1.0] \t\x1b[2Jbad\x07\u{1f600}\u6f22 words '.repeat(9),
      cost: NO_COST,
    });
    await wait();
    assert.equal(lines().length, 3);
    assert.equal(lines()[0], 'Linux');
    assert.match(lines()[1]!, /^. good +\d+ s {2}drivers {16}\[2Jbad \?\? words/);
    assert.ok(lines().every(line => line.length < 60));
    view.close();
  });

  test('a narrower terminal leaves nothing behind', async () => {
    const { stream, lines, resize } = terminal(100, 20);
    const view = createMatrixView([spec('good'), spec('other')], stream);
    view.ended(1, result('other', 'a reason that is longer than what a narrow terminal has room for in a line'));
    await wait();
    assert.equal(lines().length, 3);
    resize(30);
    assert.ok(lines().length > 3, 'the terminal has broken a line');
    await wait();
    assert.equal(lines().length, 3);
    assert.ok(lines().every(line => line.length < 30));
    view.close();
    assert.match(lines()[2]!, /has room for in a line$/, 'at the end there is no hurry');
  });

  test('of more cells than rows those that run are shown, and all at the end', async () => {
    const { stream, lines } = terminal(80, 8);
    const specs = Array.from({ length: 20 }, (_, index) => spec(`h${index}`, index < 10 ? 'Linux' : 'Linux-new'));
    const view = createMatrixView(specs, stream);
    for (let index = 0; index < 9; index++) view.ended(index, result(`h${index}`));
    view.started(9);
    await wait();
    assert.equal(lines().length, 6);
    assert.match(lines()[0]!, /Linux h9 +0 s/);
    assert.match(lines()[1]!, /Linux-new h10 +waiting/);
    assert.match(lines()[5]!, /^ {2}and 9 done, 6 waiting$/);
    for (let index = 9; index < 20; index++) view.ended(index, result(`h${index}`));
    view.close();
    assert.equal(lines().length, 20);
  });
});
