/** The commands of a SCSI disk, as SPC-4 and SBC-3 have them, and what comes of commands that cannot be done. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createRandom } from '../../conformance/random.ts';
import { createLog } from '../../host/log.ts';
import { GuestMemory } from '../../memory/memory.ts';
import { GuestBuffer } from '../guest-buffer.ts';
import { memoryDisk } from '../memory-disk.ts';
import { ScsiDisk } from './disk.ts';
import { ScsiTarget } from './target.ts';

const SIZE = 256 << 10;
const IDENTITY = { vendor: 'Vendor', product: 'A Product', revision: '1.2', serial: 'disk-0', number: 3 };

function setUp({ readOnly = false, size = SIZE } = {}) {
  const memory = new GuestMemory(new ArrayBuffer(1 << 20), 0, 1 << 20);
  const disk = memoryDisk('d', size, readOnly);
  const log = createLog();
  const unit = new ScsiDisk(disk, IDENTITY, log);
  const target = new ScsiTarget([unit]);
  /** Pieces that are no neighbours and have odd lengths. */
  const buffer = (length: number) =>
    GuestBuffer.over(memory, [
      { address: 0x1003, length: Math.min(5, length) },
      { address: 0x8001, length: Math.max(0, length - 5) },
    ])!;
  const run = (cdb: readonly number[], length = 0, lun = 0, data?: Uint8Array) => {
    const bytes = new Uint8Array(16);
    bytes.set(cdb);
    const into = buffer(length);
    into.copyIn(0, data ?? new Uint8Array(length).fill(0xee));
    const answer = target.execute(lun, bytes, into);
    return { ...answer, data: into.copyOut(0, length), code: [answer.sense[2], answer.sense[12], answer.sense[13]] };
  };
  return { memory, disk, log, run };
}

const ascii = (bytes: Uint8Array) => new TextDecoder('latin1').decode(bytes);

describe('what a disk says of itself', () => {
  test('INQUIRY, cut to what is allowed', () => {
    const { run } = setUp();
    const { status, data, transferred } = run([0x12, 0, 0, 0, 36], 36);
    assert.equal(status, 0);
    assert.equal(transferred, 36);
    assert.equal(data[0], 0);
    assert.equal(data[2], 6);
    assert.equal(data[4], 31);
    assert.equal(ascii(data.subarray(8)), 'Vendor  A Product       1.2 ');
    assert.equal(run([0x12, 0, 0, 0, 5], 36).transferred, 5);
    assert.equal(run([0x12, 0, 0, 0, 5], 36).data[5], 0xee);
    assert.deepEqual(run([0x12, 0, 1, 0, 36], 36).code, [5, 0x24, 0]);
  });

  test('vital product data: what page 00 lists is there, and nothing else', () => {
    const { run } = setUp();
    const { data } = run([0x12, 1, 0, 0, 255], 255);
    const listed = [...data.subarray(4, 4 + data[3])];
    assert.deepEqual(listed, [0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2]);
    for (let page = 0; page < 256; page++) {
      const { status, data, code } = run([0x12, 1, page, 0, 255], 255);
      assert.equal(status === 0, listed.includes(page), `page ${page}`);
      if (status === 0) assert.equal(data[1], page);
      else assert.deepEqual(code, [5, 0x24, 0]);
    }
    assert.equal(ascii(run([0x12, 1, 0x80, 0, 10], 10).data.subarray(4)), 'disk-0');
    const limits = new DataView(run([0x12, 1, 0xb0, 0, 64], 64).data.buffer);
    assert.equal(limits.getUint16(2), 0x3c);
    assert.equal(limits.getUint32(20), 65536);
  });

  test('mode pages by either command, and write protection', () => {
    const { run } = setUp();
    const six = run([0x1a, 0, 0x3f, 0, 255], 255);
    assert.deepEqual([...six.data.subarray(0, 7)], [4 + 20 + 12 - 1, 0, 0x10, 0, 0x08, 18, 0x04]);
    const ten = run([0x5a, 0, 0x08, 0, 0, 0, 0, 0, 255], 255);
    assert.deepEqual([...ten.data.subarray(0, 11)], [0, 26, 0, 0x10, 0, 0, 0, 0, 0x08, 18, 0x04]);
    assert.equal(run([0x1a, 0, 0x48, 0, 255], 255).data[6], 0, 'nothing can be changed');
    assert.deepEqual(run([0x1a, 0, 0xc8, 0, 255], 255).code, [5, 0x39, 0], 'nor saved');
    assert.deepEqual(run([0x1a, 0, 0x07, 0, 255], 255).code, [5, 0x24, 0]);
    assert.equal(setUp({ readOnly: true }).run([0x1a, 0, 0x3f, 0, 4], 4).data[2], 0x90);
  });

  test('capacity, and who is there', () => {
    const { run } = setUp();
    assert.deepEqual([...run([0x25], 8).data], [0, 0, 1, 0xff, 0, 0, 2, 0]);
    const sixteen = run([0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32], 32).data;
    assert.deepEqual([...sixteen.subarray(0, 16)], [0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 2, 0, 0, 0, 0xc0, 0]);
    assert.deepEqual(run([0x9e, 0x12], 32).code, [5, 0x24, 0]);
    assert.deepEqual([...run([0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16], 16).data], [0, 0, 0, 8, ...Array(12).fill(0)]);
    assert.equal(run([0x12, 0, 0, 0, 36], 36, 1).data[0], 0x7f, 'no such unit');
    assert.deepEqual(run([0x00], 0, 1).code, [5, 0x25, 0]);
    assert.equal(run([0x03, 0, 0, 0, 18], 18, 1).data[12], 0x25);
    assert.equal(run([0x03, 0, 0, 0, 18], 18).data[2], 0);
    assert.equal(run([0x00]).status, 0);
  });
});

describe('blocks', () => {
  const content = Uint8Array.from({ length: 1024 }, (_, index) => index * 7);

  test('are read and written by every length of command', () => {
    const commands: [write: number[], read: number[]][] = [
      [
        [0x0a, 0, 0, 9, 2],
        [0x08, 0, 0, 9, 2],
      ],
      [
        [0x2a, 0, 0, 0, 0, 9, 0, 0, 2],
        [0x28, 0, 0, 0, 0, 9, 0, 0, 2],
      ],
      [
        [0xaa, 0, 0, 0, 0, 9, 0, 0, 0, 2],
        [0xa8, 0, 0, 0, 0, 9, 0, 0, 0, 2],
      ],
      [
        [0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 2],
        [0x88, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 2],
      ],
    ];
    for (const [write, read] of commands) {
      const { disk, run } = setUp();
      assert.equal(run(write, 1024, 0, content).transferred, 1024);
      assert.deepEqual(disk.bytes.subarray(9 * 512, 11 * 512), content);
      assert.equal(disk.bytes[9 * 512 - 1], 0);
      assert.equal(disk.bytes[11 * 512], 0);
      assert.deepEqual(run(read, 1024).data, content);
      assert.deepEqual(disk.events, []);
    }
    const { run } = setUp();
    assert.equal(run([0x08, 0, 0, 0, 0], 256 * 512).transferred, 256 * 512, 'no length: 256 blocks');
    assert.equal(run([0x28, 0, 0, 0, 0, 0, 0, 0, 0]).status, 0, 'no length: none');
  });

  test('are on stable storage when a command says so', () => {
    const { disk, run } = setUp();
    run([0x2a, 0x08, 0, 0, 0, 9, 0, 0, 1], 512);
    assert.deepEqual(disk.events, ['flush']);
    for (const code of [0x35, 0x91, 0x1b]) assert.equal(run([code]).status, 0);
    assert.equal(disk.events.length, 4);
  });

  test('beyond the end, of a disk that is not written to, and without room', () => {
    const { run } = setUp();
    const last = SIZE / 512;
    for (const code of [0x28, 0x2a]) {
      assert.deepEqual(run([code, 0, 0, 0, 2, 0, 0, 0, 1], 512).code, [5, 0x21, 0]);
      assert.deepEqual(run([code, 0, 0, 0, 1, 0xff, 0, 0, 2], 1024).code, [5, 0x21, 0]);
      assert.deepEqual(run([code, 0, 0, 0, 0, 0, 0, 0, 2], 1023).code, [5, 0x24, 0]);
      assert.equal(run([code, 0, 0, 0, (last - 1) >> 8, 0xff, 0, 0, 1], 512).status, 0);
    }
    assert.deepEqual(run([0x88, 0, ...Array(8).fill(0xff), 0xff, 0xff, 0xff, 0xff], 512).code, [5, 0x21, 0]);
    const readOnly = setUp({ readOnly: true });
    for (const cdb of [[0x2a], [0x0a], [0x42, 0, 0, 0, 0, 0, 0, 0, 24], [0x93, 8]])
      assert.deepEqual(readOnly.run(cdb, 512).code, [7, 0x27, 0]);
  });

  test('are unmapped, or not at all', () => {
    const list = (...extents: [block: number, blocks: number][]) => {
      const bytes = new Uint8Array(8 + 16 * extents.length);
      const view = new DataView(bytes.buffer);
      view.setUint16(0, bytes.length - 2);
      view.setUint16(2, 16 * extents.length);
      for (const [index, [block, blocks]] of extents.entries()) {
        view.setBigUint64(8 + 16 * index, BigInt(block));
        view.setUint32(16 + 16 * index, blocks);
      }
      return bytes;
    };
    const unmap = (bytes: Uint8Array, length = bytes.length) => {
      const { disk, run } = setUp();
      disk.bytes.fill(1);
      return { ...run([0x42, 0, 0, 0, 0, 0, 0, 0, length], bytes.length, 0, bytes), disk };
    };
    const good = unmap(list([1, 2], [5, 0], [8, 1]));
    assert.equal(good.status, 0);
    assert.deepEqual(good.disk.events, ['discard 512+1024', 'discard 4096+512']);
    assert.equal(unmap(list([1, 2]), 0).disk.events.length, 0);
    for (const [bytes, length, code] of [
      [list([1, 2], [511, 2]), undefined, [5, 0x21, 0]],
      [list([0, 65537]), undefined, [5, 0x26, 0]],
      [list([1, 2]), 7, [5, 0x1a, 0]],
      [list([1, 2]), 16, [5, 0x1a, 0]],
      [list(...Array(17).fill([0, 1])).subarray(0, 200), 200, [5, 0x26, 0]],
    ] as const) {
      const bad = unmap(bytes, length);
      assert.deepEqual(bad.code, code);
      assert.deepEqual(bad.disk.events, []);
    }
  });

  test('are all made the same', () => {
    const pattern = content.subarray(0, 512);
    const { disk, run } = setUp();
    assert.equal(run([0x93, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 200], 512, 0, pattern).status, 0);
    for (const block of [3, 100, 202]) assert.deepEqual(disk.bytes.subarray(block * 512, block * 512 + 512), pattern);
    assert.equal(disk.bytes[203 * 512 + 1], 0);
    assert.equal(run([0x41, 8, 0, 0, 0, 3, 0, 0, 2], 512, 0, new Uint8Array(512)).status, 0);
    assert.deepEqual(disk.events, ['discard 1536+1024']);
    assert.equal(run([0x93, 9, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1]).status, 0, 'no data: zeros');
    assert.deepEqual(run([0x93, 8, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0], 512).code, [5, 0x24, 0]);
    assert.deepEqual(run([0x93, 8, 0, 0, 0, 0, 0, 0, 0, 5, 0, 1, 0, 1], 512).code, [5, 0x24, 0]);
    assert.deepEqual(run([0x93, 8, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1], 511).code, [5, 0x24, 0]);
  });

  test('that the host cannot have are errors of the medium, and the reason is in the log', () => {
    const { disk, log, run } = setUp();
    const fail = () => {
      throw new Error('the host is full');
    };
    Object.assign(disk, { read: fail, write: fail, flush: fail, discard: fail });
    assert.deepEqual(run([0x28, 0, 0, 0, 0, 0, 0, 0, 1], 512).code, [3, 0x11, 0]);
    for (const cdb of [[0x2a, 0, 0, 0, 0, 0, 0, 0, 1], [0x35], [0x93, 9, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1]])
      assert.deepEqual(run(cdb, 512).code, [3, 0x0c, 0]);
    assert.match(log.lines.join(), /disk-0: the host is full/);
  });
});

test('no command and no buffer does more than it may', () => {
  const { memory, run } = setUp();
  const random = createRandom(0x73637369n);
  const codes = [
    0x00, 0x03, 0x08, 0x0a, 0x12, 0x1a, 0x25, 0x28, 0x2a, 0x35, 0x41, 0x42, 0x5a, 0x88, 0x8a, 0x93, 0x9e, 0xa0,
  ];
  for (let round = 0; round < 20_000; round++) {
    const cdb = Array.from({ length: 16 }, () => (random.below(2) ? 0 : random.below(256)));
    if (random.below(4)) cdb[0] = random.of(codes);
    const length = random.of([0, 1, 17, 512, 4096]);
    const behind = 0x8001 + Math.max(0, length - 5);
    for (const address of [0x1008, 0x7ffd, behind]) memory.write32(address, 0x12345678);
    const before = [0x1008, 0x7ffd, behind].map(address => memory.read32(address));
    const { status, transferred, sense } = run(cdb, length, random.below(2), undefined);
    assert.ok(status === 0 ? sense.length === 0 : sense.length === 18);
    assert.ok(transferred <= length);
    assert.deepEqual(
      [0x1008, 0x7ffd, behind].map(address => memory.read32(address)),
      before,
      'what is around the buffer',
    );
  }
});
