/** Signals while the default guest is being made: a line, the signal's status, and nothing half made in the cache. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { cacheFolder } from '../src/host/node/cache.ts';
import { ensureGuest } from '../src/host/node/guest.ts';
import { polyvisor } from './command.ts';

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-fetch-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** All files below `path`. */
const filesBelow = (path: string): string[] =>
  existsSync(path)
    ? readdirSync(path, { withFileTypes: true }).flatMap(entry =>
        entry.isDirectory() ? filesBelow(join(path, entry.name)) : [join(path, entry.name)],
      )
    : [];

/** A cache with the packages of the default guest, and no guest. */
async function cacheWithPackages(name: string): Promise<string> {
  await ensureGuest();
  const cache = join(folder, name);
  mkdirSync(join(cache, 'guests/amd64/cloud-amd64'), { recursive: true, mode: 0o700 });
  cpSync(join(cacheFolder(), 'packages'), join(cache, 'packages'), { recursive: true });
  const packages = 'guests/amd64/cloud-amd64/packages.json';
  cpSync(join(cacheFolder(), packages), join(cache, packages));
  return cache;
}

for (const [signal, status, words] of [
  ['SIGINT', 130, ['run', '--exec', 'true']],
  ['SIGTERM', 143, ['guest', '--cached']],
  ['SIGHUP', 129, ['matrix', '--hypervisor', 'bare']],
] as const)
  test(`${signal} ends "polyvisor ${words.join(' ')}" while it unpacks`, { timeout: 120_000 }, async () => {
    const cache = await cacheWithPackages(signal);
    const before = filesBelow(cache);
    const result = await polyvisor(words, {
      env: { POLYVISOR_CACHE: cache },
      signal: { after: 'Unpacking', name: signal },
      limit: 100,
    });
    assert.equal(result.status, status, result.stderr);
    assert.match(result.stderr, new RegExp(`polyvisor: ended by ${signal} while the default guest was being made\n$`));
    assert.deepEqual(filesBelow(cache), before);
    assert.deepEqual(
      readdirSync(cache).filter(name => name.startsWith('.')),
      [],
    );
  });

test('SIGTERM ends it while it asks apt', { timeout: 120_000 }, async () => {
  const cache = join(folder, 'empty');
  const result = await polyvisor(['run', '--exec', 'true'], {
    env: { POLYVISOR_CACHE: cache },
    signal: { after: 'Asking apt', name: 'SIGTERM' },
    limit: 100,
  });
  assert.equal(result.status, 143, result.stderr);
  assert.match(result.stderr, /polyvisor: ended by SIGTERM while the default guest was being made\n$/);
  assert.deepEqual(filesBelow(cache), []);
});

test('making it takes no memory of the process that goes on to run it', { timeout: 240_000 }, async () => {
  const cache = await cacheWithPackages('memory');
  const run = () =>
    polyvisor(['run', '--cold', '--memory', '96M', '--exec', 'true'], { env: { POLYVISOR_CACHE: cache }, limit: 110 });
  const first = await run();
  assert.equal(first.status, 0, first.stderr);
  assert.match(first.stderr, /Unpacking/);
  const second = await run();
  assert.equal(second.status, 0, second.stderr);
  assert.doesNotMatch(second.stderr, /Unpacking/);
  // What two runs differ by is some 20 MiB; unpacking takes 250.
  const [made, found] = [first, second].map(({ peakMemory }) => peakMemory / 2 ** 20);
  assert.ok(made < found + 80, `${Math.round(made)} MiB, and ${Math.round(found)} where the guest was there`);
});
