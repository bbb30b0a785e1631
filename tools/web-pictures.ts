/** The README's pictures of the page, made anew: node bin/compiled.cjs tools/web-pictures [NAME...] */
import { writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { listen } from '../src/cli/web.ts';
import { createSite } from '../src/cli/web-site.ts';
import { ensureGuest } from '../src/host/node/index.ts';
import { Browser, findChromium, type Screen } from '../tests/browser.ts';
import { root } from '../tests/sources.ts';

interface Picture {
  /** With the virtual clock and an end after so many instructions: the same picture every time. */
  query: string;
  screen: Screen;
}

const PICTURES: Readonly<Record<string, Picture>> = {
  web: { query: 'hypervisor=hyperv&until=300', screen: { width: 1280, height: 860 } },
  'web-dark': { query: 'hypervisor=kvm&beside=hyperv&until=150', screen: { width: 1280, height: 1240, dark: true } },
  'web-phone': { query: 'hypervisor=kvm&until=150', screen: { width: 390, height: 1180 } },
};

/** In milliseconds: the host may be busy. */
const LIMIT = 400_000;

const program = findChromium();
if (!program) throw new Error('needs chromium');
const wanted = process.argv.slice(2);
const guest = await ensureGuest();
const name = `Debian ${guest.release}`;
const server = await listen(createSite([{ name, kernel: guest.kernel, initrd: guest.initrd }]), 0);
const browser = await Browser.start(program);

async function until(expression: string): Promise<void> {
  const start = Date.now();
  while (!(await browser.evaluate(expression))) {
    if (Date.now() - start > LIMIT) throw new Error(`not within ${LIMIT / 1000} s: ${expression}`);
    await new Promise(resolve => setTimeout(resolve, 500));
  }
}

try {
  for (const [file, { query, screen }] of Object.entries(PICTURES)) {
    if (wanted.length > 0 && !wanted.includes(file)) continue;
    const { port } = server.address() as AddressInfo;
    await browser.open(`http://127.0.0.1:${port}/?${query}&clock=virtual&boot=1`, screen);
    await until(`polyvisor.machines[0] && polyvisor.machines.every(({ activity }) => activity === 'paused')`);
    await browser.evaluate(`document.documentElement.style.overflow = 'hidden'`); // No scroll bar in the picture.
    writeFileSync(join(root, `docs/${file}.png`), await browser.picture());
    process.stdout.write(`docs/${file}.png\n`);
  }
} finally {
  await browser.close();
  server.closeAllConnections();
  server.close();
}
