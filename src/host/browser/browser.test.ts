/** What host/browser makes of a browser, with stand-ins for what Node.js has not. */
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import { LocalTranslator, type TranslatorSetup } from '../../engine/jit/translator.ts';
import { createLog } from '../log.ts';
import type { NetworkPort } from '../network.ts';
import { portableCompression } from '../portable-compression.ts';
import { openBrowserCache } from './artifact-cache.ts';
import { type BrowserBlob, type BrowserWorker, browser } from './browser.ts';
import { browserClock } from './clock.ts';
import { browserCompression } from './compression.ts';
import { blobDisk, opfsDisk } from './disks.ts';
import { createPageSwitch, type FramePort, portNetwork } from './network.ts';
import { serveTranslator } from './serve-translator.ts';
import { browserTranslator } from './translator.ts';

class Bytes implements BrowserBlob {
  readonly bytes: Uint8Array;
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
  get size() {
    return this.bytes.length;
  }
  slice(from: number, to: number) {
    return new Bytes(this.bytes.subarray(from, to));
  }
}

afterEach(() => {
  delete browser.FileReaderSync;
});

function readBlobs(): void {
  browser.FileReaderSync = class {
    readAsArrayBuffer = (blob: BrowserBlob) => (blob as Bytes).bytes.slice().buffer as ArrayBuffer;
  };
}

test('a file as a disk: read from the file, written to memory', () => {
  const file = Uint8Array.from({ length: 3 << 16 }, (_, at) => at % 251);
  const before = file.slice();
  assert.throws(() => blobDisk('a', new Bytes(file)), /in a worker only/);
  readBlobs();
  assert.throws(() => blobDisk('a', new Bytes(file.subarray(1))), /no multiple of 512/);
  const disk = blobDisk('a', new Bytes(file));
  const expected = file.slice();
  const check = (from: number, length: number) => {
    const read = new Uint8Array(length);
    disk.read(from, read);
    assert.deepEqual(read, expected.slice(from, from + length), `${from}, ${length}`);
  };
  check(65_000, 70_000);
  const written = new Uint8Array(70_000).fill(7);
  disk.write(65_024, written);
  expected.set(written, 65_024);
  disk.discard(512, 1024);
  expected.fill(0, 512, 1536);
  check(0, file.length);
  check(65_000, 70_000);
  assert.deepEqual(file, before, 'the file stays as it is');
  assert.throws(() => disk.read(file.length - 512, new Uint8Array(1024)), RangeError);
  assert.throws(() => disk.write(-512, new Uint8Array(512)), RangeError);
});

test("a file of the origin's own as a disk", () => {
  const bytes = new Uint8Array(4096);
  const calls: string[] = [];
  const disk = opfsDisk('b', {
    getSize: () => bytes.length,
    read(into, { at }) {
      into.set(bytes.subarray(at, at + into.length));
      return Math.min(into.length, bytes.length - at);
    },
    write(from, { at }) {
      bytes.set(from, at);
      return from.length;
    },
    flush: () => void calls.push('flush'),
    close: () => void calls.push('close'),
  });
  disk.write(
    512,
    Uint8Array.from({ length: 512 }, () => 9),
  );
  const read = new Uint8Array(1024);
  disk.read(512, read);
  assert.equal(read[511], 9);
  disk.discard(512, 512);
  disk.read(512, read);
  assert.equal(read[511], 0);
  assert.throws(() => disk.read(4096, new Uint8Array(512)), RangeError);
  disk.flush();
  disk.close();
  assert.deepEqual(calls, ['flush', 'close']);
});

test('what is unpacked is whole or refused', async () => {
  const bytes = Uint8Array.from({ length: 100_000 }, (_, at) => (at * at) & 0xff);
  const packed = await browserCompression.deflate(bytes);
  assert.deepEqual(await browserCompression.inflate(packed, bytes.length), bytes);
  assert.deepEqual(await portableCompression.inflate(packed, bytes.length), bytes);
  await assert.rejects(browserCompression.inflate(packed, bytes.length - 1), /more than/);
  await assert.rejects(browserCompression.inflate(packed, bytes.length + 1), /instead of/);
  await assert.rejects(browserCompression.inflate(packed.slice(0, -9), bytes.length));
  const damaged = packed.slice();
  damaged[damaged.length - 1]! ^= 1;
  await assert.rejects(browserCompression.inflate(damaged, bytes.length));
});

test('machines in a page are joined by its switch; what is no frame goes nowhere', async () => {
  const plug = createPageSwitch();
  const [one, two] = [1, 2].map(number => {
    const { port1, port2 } = new MessageChannel();
    plug(port1 as unknown as FramePort);
    const network = portNetwork(`cable ${number}`, port2 as unknown as FramePort);
    const received: Uint8Array[] = [];
    network.connect({
      receive: (frame: Uint8Array) => void received.push(frame),
      log: createLog(),
    } as unknown as NetworkPort);
    return { network, received, port1, port2 };
  });
  const frame = Uint8Array.from({ length: 60 }, (_, at) => (at < 6 ? 0xff : at));
  two!.port2.postMessage('no frame');
  two!.port2.postMessage(new Uint8Array(70_000));
  one!.network.send(frame);
  while (two!.received.length === 0) await new Promise(resolve => setTimeout(resolve, 5));
  assert.deepEqual(two!.received, [frame]);
  assert.deepEqual(one!.received, []);
  for (const each of [one!, two!]) {
    each.network.close?.();
    each.port1.close();
  }
});

test('a sleep ends by itself, or when somebody wakes it', async () => {
  await browserClock.sleep(1e6).over;
  const { over, wake } = browserClock.sleep(1e12);
  wake();
  await over;
});

test('without IndexedDB there is no cache, and no error', async () => {
  assert.equal(await openBrowserCache('1'), undefined);
});

test('translation goes to a worker, and goes on without one that fails', async () => {
  const setup: TranslatorSetup = { ramSize: 1 << 20, helpers: [] };
  const { port1, port2 } = new MessageChannel();
  serveTranslator(port2 as never);
  port2.start();
  port1.start();
  let fail = () => {};
  const worker = {
    postMessage: (message: unknown, transfer: object[]) => port1.postMessage(message, transfer as never),
    addEventListener(type: string, listener: (event: { data: unknown }) => void) {
      if (type === 'message') port1.addEventListener('message', listener as never);
      else fail = () => listener({ data: undefined });
    },
    terminate: () => port1.close(),
  } as unknown as BrowserWorker;
  const translator = browserTranslator(() => worker)(setup);
  const empty = () => ({ bytes: Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0), compiled: undefined });
  const [good, bad] = [empty(), { ...empty(), bytes: new Uint8Array(3) }];
  translator.compile([good, bad]);
  while (!good.compiled) {
    await new Promise(resolve => setTimeout(resolve, 5));
    translator.poll();
  }
  assert.ok(good.compiled);
  assert.equal(bad.compiled, undefined);
  fail();
  const later = empty();
  translator.compile([later]);
  assert.ok(later.compiled, 'on this thread');
  assert.equal(translator.outstanding, 0);
  assert.ok(new LocalTranslator(setup));
  translator.close();
});
