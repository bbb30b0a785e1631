/** What `--net-dump` writes, read by Wireshark's own program. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ManualClock } from '../src/devices/manual-clock.ts';
import { createLog } from '../src/host/log.ts';
import { testSockets } from '../src/matrix/test-network.ts';
import { completeHeaders } from '../src/net/offload.ts';
import { captured } from '../src/net/pcapng.ts';
import { userNetwork } from '../src/net/user-network.ts';

const missing = spawnSync('tshark', ['-v']).error ? 'tshark (Debian: tshark) is not installed' : false;
const MAC = [0x52, 0x54, 0, 1, 2, 3];
const [GUEST, GATEWAY, NAMES] = [
  [10, 0, 2, 15],
  [10, 0, 2, 2],
  [10, 0, 2, 3],
];

/** An IPv4 packet in its frame; lengths and IP's checksum as `completeHeaders` makes them. */
function frame(protocol: number, to: readonly number[], body: readonly number[]): Uint8Array {
  const head = [0x45, 0, 0, 0, 0, 1, 0, 0, 64, protocol, 0, 0, ...GUEST, ...to];
  const bytes = Uint8Array.from([0x52, 0x55, 10, 0, 2, 2, ...MAC, 8, 0, ...head, ...body]);
  const checksum = bytes.slice(34 + 16, 34 + 18);
  completeHeaders(bytes, 34);
  // Of UDP, this is no checksum's place.
  if (protocol !== 6) bytes.set(checksum.subarray(0, Math.max(0, bytes.length - 50)), 50);
  return bytes;
}

const datagram = (port: number, body: readonly number[]) => [19, 136, 0, port, 0, 8 + body.length, 0, 0, ...body];

test('ARP, names, datagrams and TCP, left undone or not: tshark finds nothing wrong', { skip: missing }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'polyvisor-capture-'));
  try {
    const file = join(folder, 'dump.pcapng');
    const pieces: Uint8Array[] = [];
    const clock = new ManualClock(1_795_348_800_123_456_789n);
    const network = captured(await userNetwork({ sockets: testSockets(), hostLoopback: true }), piece =>
      pieces.push(piece),
    );
    network.connect({ clock, log: createLog(), receive() {} });
    const send = (...words: Parameters<typeof network.send>) => {
      network.send(...words);
      clock.advance(1000);
    };
    const arp = [0, 1, 8, 0, 6, 4, 0, 1, ...MAC, ...GUEST, 0, 0, 0, 0, 0, 0, ...GATEWAY];
    send(Uint8Array.from([255, 255, 255, 255, 255, 255, ...MAC, 8, 6, ...arp]));
    const name = [6, ...Buffer.from('matrix'), 4, ...Buffer.from('test'), 0];
    send(frame(17, NAMES, datagram(53, [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...name, 0, 1, 0, 1])));
    send(frame(17, GATEWAY, datagram(69, [0, 1, ...Buffer.from('file'), 0, ...Buffer.from('octet'), 0])));
    // Their checksums are the network's to complete.
    send(frame(6, GATEWAY, [0x80, 1, 0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]), {
      ...{ start: 34, at: 50, segment: 0 },
    });
    send(frame(6, GATEWAY, [0x80, 2, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]), {
      ...{ start: 34, at: 50, segment: 0 },
    });
    writeFileSync(file, Buffer.concat(pieces));
    const checks = ['ip', 'tcp', 'udp'].flatMap(layer => ['-o', `${layer}.check_checksum:TRUE`]);
    const fields = ['_ws.col.Protocol', 'tcp.checksum.status', '_ws.expert.severity'].flatMap(field => ['-e', field]);
    const { status, stdout, stderr } = spawnSync('tshark', ['-r', file, ...checks, '-T', 'fields', ...fields], {
      encoding: 'utf8',
    });
    assert.equal(status, 0, stderr);
    const rows = stdout.trimEnd().split('\n');
    const protocols = rows.map(row => row.split('\t')[0]);
    assert.deepEqual(protocols, ['ARP', 'ARP', 'DNS', 'DNS', 'TFTP', 'TFTP', 'TCP', 'TCP', 'TCP', 'TCP']);
    for (const row of rows.filter(each => each.startsWith('TCP')))
      assert.equal(row.split('\t')[1], '1', `right: ${row}`);
    // 0x800000 is an error, 0x600000 a warning: the connection that is refused is one.
    for (const row of rows) assert.ok(!row.includes('8388608'), row);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
