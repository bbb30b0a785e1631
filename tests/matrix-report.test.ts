/** The matrix's HTML report in a real browser: what is drawn, where, and in which colour. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { compareWithBaseline } from '../src/matrix/baseline.ts';
import { htmlReport } from '../src/matrix/html.ts';
import { exampleReport, NASTY } from '../src/matrix/testing.ts';
import { Browser, findChromium } from './browser.ts';
import { matrixPicture } from './matrix-picture.ts';

const WIDE = { width: 1200, height: 900 };
const PHONE = { width: 390, height: 844 };

const chromium = findChromium();

describe('the report in Chromium', { skip: chromium ? false : 'chromium is not installed' }, () => {
  let browser: Browser;
  let folder: string;
  let url: string;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'polyvisor-report-'));
    const [report, old] = [exampleReport(), exampleReport()];
    report.cells[0]!.phases[2]!.instructions *= 1.5;
    compareWithBaseline(report, old, 0.02, 'old.json');
    const file = join(folder, 'report.html');
    writeFileSync(file, htmlReport(report));
    url = pathToFileURL(file).href;
    browser = await Browser.start(chromium!);
    await browser.open(url, WIDE);
  });

  after(async () => {
    await browser?.close();
    rmSync(folder, { recursive: true });
  });

  /** Red, green and blue of a computed colour. */
  const colours = async (selector: string, property: string) => {
    const texts = await browser.evaluate<string[]>(
      `[...document.querySelectorAll(${JSON.stringify(selector)})].map(e => getComputedStyle(e)[${JSON.stringify(property)}])`,
    );
    return texts.map(text => (text.match(/[\d.]+/g) ?? []).slice(0, 3).map(Number));
  };
  const widths = (selector: string) =>
    browser.evaluate<number[]>(
      `[...document.querySelectorAll(${JSON.stringify(selector)})].map(e => e.getBoundingClientRect().width)`,
    );
  const luminance = ([r, g, b]: number[]) => 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;

  test('the grid has a cell each: green what passed, red what did not, grey what was not built for it', async () => {
    const kinds = await browser.evaluate<string[]>(
      `[...document.querySelectorAll('.grid .cell')].map(e => e.className.split(' ')[1])`,
    );
    assert.deepEqual(kinds, ['worse', 'passed', 'none', 'failed', 'failed', 'failed']);
    const [worse, passed, none, failed] = await colours('.grid .cell', 'backgroundColor');
    assert.ok(passed![1]! > passed![0]! + 10, `green: ${passed}`);
    assert.ok(failed![0]! > failed![1]! + 10, `red: ${failed}`);
    assert.deepEqual(worse, failed);
    assert.ok(Math.max(...none!) - Math.min(...none!) < 20, `grey: ${none}`);
    const rows = await browser.evaluate<number[]>(
      `[...document.querySelectorAll('.grid .cell')].map(e => Math.round(e.getBoundingClientRect().top))`,
    );
    assert.equal(new Set(rows).size, 2, 'two kernels, two rows');
  });

  test('boots stand side by side on one scale', async () => {
    const drawn = await browser.evaluate<number[][]>(
      `[...document.querySelectorAll('.timelines .track')].map(t => [...t.children].map(e => e.getBoundingClientRect().width / t.getBoundingClientRect().width))`,
    );
    assert.equal(drawn.length, 4, 'what was booted');
    const [whole, half, panicked] = drawn;
    assert.ok(Math.abs(whole![0]! - 2 * half![0]!) < 0.01, 'half the cost is half as long');
    assert.ok(half!.every((part, index) => Math.abs(part * 2 - [0.1, 0.1, 0.4, 0.1, 0.25, 0.05][index]!) < 0.01));
    assert.equal(panicked!.length, 4, 'three phases and a stop');
    const shades = await colours('.timelines .track span', 'backgroundColor');
    assert.equal(new Set(shades.slice(0, 6).map(String)).size, 6, 'each phase its own colour');
  });

  test('the fastest is marked, in every test that has one', async () => {
    const best = await browser.evaluate<string[]>(
      `[...document.querySelectorAll('.tests .best')].map(e => e.closest('tr').children[0].textContent + ' ' + e.closest('table').rows[0].cells[e.cellIndex].textContent)`,
    );
    assert.deepEqual(best, ['fork-exec quick', 'sleep quick']);
  });

  test('bars are as long as the logarithm of their counts, whatever op they are of', async () => {
    const bars = await browser.evaluate<{ count: number; share: number }[]>(
      `[...document.querySelectorAll('.operations .bar')].map(e => ({
        count: Number(e.parentElement.nextElementSibling.textContent.replaceAll(',', '')),
        share: e.getBoundingClientRect().width / e.parentElement.getBoundingClientRect().width,
      }))`,
    );
    assert.ok(bars.length >= 12);
    const most = Math.log10(Math.max(...bars.map(({ count }) => count)) + 1);
    for (const { count, share } of bars)
      assert.ok(Math.abs(share - Math.log10(count + 1) / most) < 0.01, `${count}: ${share}`);
  });

  test('what got worse than the baseline is listed', async () => {
    const text = await browser.evaluate<string>(`document.querySelector('.changes').innerText`);
    assert.match(text, /6\.1\.0-1 on \w+\s+✘ drivers, instructions\s+400 M\s+600 M \(\+50 %\)/);
  });

  test('consoles are folded, and open by their cell', async () => {
    const heights = `[...document.querySelectorAll('details pre')].map(e => e.checkVisibility())`;
    assert.ok((await browser.evaluate<boolean[]>(heights)).every(visible => !visible));
    await browser.evaluate(`document.querySelectorAll('details')[3].querySelector('summary').click()`);
    const text = await browser.evaluate<string>(`document.querySelectorAll('details')[3].innerText`);
    assert.match(text, /Kernel panic - not syncing/);
    assert.ok(text.includes(NASTY.replace('\x1b', '\ufffd')), 'what a guest prints is shown, not obeyed');
    assert.equal(await browser.evaluate<number>('document.scripts.length'), 0);
  });

  for (const [name, dark] of [
    ['light', false],
    ['dark', true],
  ] as const)
    test(`is readable in ${name}`, async () => {
      await browser.open(url, { ...WIDE, dark });
      const [[back], [text]] = [await colours('body', 'backgroundColor'), await colours('body', 'color')];
      assert.equal(luminance(back!) < 128, dark);
      assert.ok(Math.abs(luminance(back!) - luminance(text!)) > 150);
      const [backs, texts] = [await colours('.cell', 'backgroundColor'), await colours('.cell', 'color')];
      for (const [index, cell] of backs.entries())
        assert.ok(
          Math.abs(luminance(cell) - luminance(texts[index]!)) > 80,
          `cell ${index}: ${cell} and ${texts[index]}`,
        );
    });

  test('fits a phone: only tables scroll sideways', async () => {
    await browser.open(url, PHONE);
    const width = await browser.evaluate<number>('document.documentElement.scrollWidth');
    assert.ok(width <= PHONE.width, `${width}`);
    for (const track of await widths('.timelines .track')) assert.ok(track > 150, `${track}`);
    // But for the tests, which have a column a hypervisor, what a table says is seen without scrolling.
    const right = await browser.evaluate<number>(`(() => {
      for (const each of document.querySelectorAll('details')) each.open = true;
      const numbers = [...document.querySelectorAll('.lines:not(.tests) .number')];
      return numbers.length && Math.max(...numbers.map(e => e.getBoundingClientRect().right));
    })()`);
    assert.ok(right > 0 && right <= PHONE.width, `${right}`);
  });

  test('a picture of it can be taken', async () => {
    const picture = await matrixPicture(exampleReport(), chromium!);
    assert.ok(picture.length > 10_000 && picture.subarray(1, 4).toString() === 'PNG');
  });
});
