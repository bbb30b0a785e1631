/** The README's pictures of the page, made anew: node bin/compiled.cjs tools/web-pictures [NAME...] */
import { writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { listen } from '../src/cli/web.ts';
import { createSite } from '../src/cli/web-site.ts';
import { ensureGuest } from '../src/host/node/index.ts';
import { Browser, findChromium, type Screen } from '../tests/browser.ts';
import { PageMachines } from '../tests/page-machines.ts';
import { root } from '../tests/sources.ts';

interface Picture {
  query: string;
  screen: Screen;
}

const PICTURES: Readonly<Record<string, Picture>> = {
  web: { query: 'hypervisor=hyperv', screen: { width: 1280, height: 860 } },
  'web-dark': { query: 'hypervisor=kvm&beside=hyperv', screen: { width: 1280, height: 1240, dark: true } },
  'web-phone': { query: 'hypervisor=kvm', screen: { width: 390, height: 1180 } },
};
/** What is typed at each prompt. */
const COMMAND =
  'clear; dmesg | tail -n 14; echo "$(uname -sr), clock: $(cat /sys/devices/system/clocksource/*/current_clocksource)"';

const program = findChromium();
if (!program) throw new Error('needs chromium');
const wanted = process.argv.slice(2);
const guest = await ensureGuest();
const name = `Debian ${guest.release}`;
const server = await listen(createSite([{ name, kernel: guest.kernel, initrd: guest.initrd }]), 0);
const browser = await Browser.start(program);

const page = new PageMachines(browser);

try {
  for (const [file, { query, screen }] of Object.entries(PICTURES)) {
    if (wanted.length > 0 && !wanted.includes(file)) continue;
    const { port } = server.address() as AddressInfo;
    await browser.open(`http://127.0.0.1:${port}/?${query}&boot=1`, screen);
    const parameters = new URLSearchParams(query);
    for (const hypervisor of ['hypervisor', 'beside'].flatMap(name => parameters.get(name) ?? [])) {
      await page.prompt(hypervisor);
      await page.answer(hypervisor, COMMAND, `${guest.release}, clock: ${hypervisor}`);
    }
    // What has been written is drawn with the next frame.
    await browser.evaluate('new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))');
    await browser.evaluate(`document.documentElement.style.overflow = 'hidden'`); // No scroll bar in the picture.
    writeFileSync(join(root, `docs/${file}.png`), await browser.picture());
    process.stdout.write(`docs/${file}.png\n`);
  }
} finally {
  await browser.close();
  server.closeAllConnections();
  server.close();
}
