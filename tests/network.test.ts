/**
 * Networks under the hypervisors that have cards of different kinds: Linux's own stack against ours, busybox's programs against the host's
 * sockets.
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createHttpServer, get } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { polyvisor } from './command.ts';

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-network-'));
const MEBIBYTE = 2 ** 20;
const content = randomBytes(8 * MEBIBYTE);
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** What the guest has sent to the sink. */
let uploads: Buffer[] = [];
const web = createHttpServer((_, response) => response.end(content));
const sink = createServer(socket => {
  const pieces: Buffer[] = [];
  socket.on('data', piece => pieces.push(piece));
  socket.on('error', () => {});
  socket.on('end', () => {
    uploads.push(Buffer.concat(pieces));
    socket.end();
  });
});
const portOf = (server: { address(): unknown }) => (server.address() as AddressInfo).port;
before(async () => {
  for (const server of [web, sink]) await new Promise<void>(done => void server.listen(0, '127.0.0.1', done));
});
after(() => {
  web.close();
  sink.close();
  rmSync(folder, { recursive: true });
});

/** A port that nobody uses. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>(done => void server.listen(0, '127.0.0.1', done));
  const port = portOf(server);
  await new Promise(done => server.close(done));
  return port;
}

const CARDS = { kvm: 'virtio_net', vmware: 'vmxnet3', 'xen-pvh': 'vif', 'xen-pv': 'vif' };

for (const [name, driver] of Object.entries(CARDS))
  describe(`the network under ${name}`, () => {
    test('address, pings, names, megabytes both ways', { timeout: 400_000 }, async () => {
      uploads = [];
      const summary = join(folder, `${name}.json`);
      const dump = join(folder, `${name}.pcapng`);
      const script = `
basename $(readlink /sys/class/net/eth0/device/driver)
ifconfig eth0 | grep -o 'inet addr:[0-9.]*'
ping -c 2 10.0.2.2 | grep -o '2 packets received'
nslookup localhost | grep -o 'Address: 127.0.0.1'
wget -q -O - http://10.0.2.2:${portOf(web)}/ | sha256sum
head -c 4194304 /dev/zero | tr '\\0' x | nc 10.0.2.2 ${portOf(sink)}
wget -q -O - http://10.0.2.2:1/ || echo refused`;
      const words = ['run', '-H', name, '--net', 'user,host=loopback', '--timeout', '240', '--json', summary];
      const { stdout, stderr, status } = await polyvisor([...words, '--net-dump', dump, '--exec', script], {
        limit: 300,
      });
      const lines = stdout.trim().split('\n');
      const wanted = [
        driver,
        'inet addr:10.0.2.15',
        '2 packets received',
        'Address: 127.0.0.1',
        `${sha256(content)}  -`,
      ];
      assert.deepEqual(lines.slice(0, 5), wanted, stderr);
      assert.equal(lines.at(-1), 'refused');
      assert.equal(status, 0);
      assert.equal(uploads.length, 1);
      assert.ok(uploads[0].equals(Buffer.alloc(4 * MEBIBYTE, 'x')));
      const [counters] = JSON.parse(readFileSync(summary, 'utf8')).networks;
      assert.deepEqual(counters.addresses.includes('10.0.2.15'), true);
      assert.ok(counters.received.bytes > content.length && counters.sent.bytes > 4 * MEBIBYTE);
      checkCapture(readFileSync(dump), counters);
    });
  });

/** Reads a capture as its specification says, with none of our code. */
function checkCapture(bytes: Buffer, counters: { sent: { frames: number }; received: { frames: number } }): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const types: number[] = [];
  let last = 0n;
  let badChecksums = 0;
  for (let at = 0; at < bytes.length; ) {
    const [type, length] = [view.getUint32(at, true), view.getUint32(at + 4, true)];
    assert.ok(length % 4 === 0 && length >= 12 && at + length <= bytes.length, `a block at ${at} of ${length} bytes`);
    assert.equal(view.getUint32(at + length - 4, true), length, 'both lengths of a block');
    types.push(type);
    if (type === 6) {
      const time = (BigInt(view.getUint32(at + 12, true)) << 32n) | BigInt(view.getUint32(at + 16, true));
      assert.ok(time >= last, 'times in order');
      last = time;
      const size = view.getUint32(at + 20, true);
      assert.ok(size >= 14 && size <= 1514, `a frame of ${size} bytes`);
      if (!isSound(bytes.subarray(at + 28, at + 28 + size))) badChecksums++;
    }
    at += length;
  }
  assert.deepEqual([...new Set(types)], [0x0a0d0d0a, 1, 6]);
  assert.ok(types.length - 2 >= counters.sent.frames + counters.received.frames);
  assert.equal(badChecksums, 0);
}

/** IPv4's and TCP's checksums, by the definition (RFC 1071); other frames are as they are. */
function isSound(frame: Buffer): boolean {
  if (frame.readUInt16BE(12) !== 0x0800) return true;
  const sum = (bytes: Buffer, initial = 0) => {
    let total = initial;
    for (let at = 0; at < bytes.length; at += 2) total += (bytes[at] << 8) + (bytes[at + 1] ?? 0);
    while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 65536);
    return total;
  };
  const ip = frame.subarray(14, 14 + frame.readUInt16BE(16));
  const header = (ip[0] & 15) * 4;
  if (sum(ip.subarray(0, header)) !== 0xffff) return false;
  if (ip[9] !== 6) return true;
  return sum(ip.subarray(header), sum(ip.subarray(12, 20)) + 6 + ip.length - header) === 0xffff;
}

for (const [name, guest] of [
  ['kvm', ''],
  ['xen-pv', '[::]:'],
] as const)
  test(`a server in a guest under ${name} answers through --forward to ${guest}80`, { timeout: 400_000 }, async () => {
    const port = await freePort();
    let asked = false;
    let page = '';
    const ask = () =>
      get({ host: '127.0.0.1', port, path: '/page' }, response => {
        response.setEncoding('utf8').on('data', text => (page += text));
      }).on('error', () => {});
    const script = `mkdir /www && yes served | head -n 5000 >/www/page && httpd -h /www && echo ready
for try in $(seq 100); do [ -e /tmp/seen ] && break; netstat -tn | grep -q ':80 .*\\(TIME_WAIT\\|CLOSE\\|LAST\\|FIN\\)' && sleep 2 && break; sleep 0.1; done`;
    const words = ['run', '-H', name, '--forward', `${port}:${guest}80`, '--timeout', '240', '--exec', script];
    const result = await polyvisor(words, {
      limit: 300,
      onOutput: text => {
        if (asked || !text.includes('ready')) return;
        asked = true;
        ask();
      },
    });
    assert.equal(result.status, 0, result.stderr);
    assert.equal(page, 'served\n'.repeat(5000));
  });

test('a port that another program uses is named, before anything boots', async () => {
  const result = await polyvisor(['run', '--forward', `${portOf(web)}:80`, '--exec', 'true']);
  assert.equal(result.status, 75);
  assert.match(
    result.stderr,
    new RegExp(`^polyvisor: --forward tcp 127.0.0.1:${portOf(web)}: another program uses this port$`, 'm'),
  );
});

test('what cannot be meant', async () => {
  for (const [words, text] of [
    [['--net', 'tap'], /--net tap: user/],
    [['--net', 'user,open'], /unknown word "open"/],
    [['--net', 'user,bus='], /one bus/],
    [['--net', 'user,bus=isa'], /no bus isa/],
    [['--net', 'user,restrict,host=loopback'], /restrict/],
    [['--forward', '80'], /--forward 80: \[tcp:/],
    [['--forward', 'localhost:80:80'], /no address/],
    [['--forward', '80:70000'], /1 to 65535/],
    [['--forward', '8080:[::1]:80'], /\[::1\] is no address of the network's: 10\.0\.2\.0\/24, \[fd00:10:0:2::\]\/64/],
    [['--forward', '8080:10.0.2.2:80'], /10\.0\.2\.2 is no address of the network's/],
    [['--net', 'none', '--forward', '8080:80'], /needs --net user/],
    [['--net', 'none', '--net-dump', '/tmp/x'], /nothing to write/],
    [['--engine', 'both', '--clock', 'virtual', '--net', 'user'], /--net none/],
  ] as const) {
    const { status, stderr } = await polyvisor(['run', ...words, '--exec', 'true']);
    assert.equal(status, 64, stderr);
    assert.match(stderr, text);
  }
});

test('on the virtual clock a run with the default network repeats to the instruction', {
  timeout: 400_000,
}, async () => {
  const counts: unknown[] = [];
  for (const index of [1, 2]) {
    const summary = join(folder, `virtual-${index}.json`);
    const words = ['run', '-H', 'kvm', '--clock', 'virtual', '--timeout', '240', '--json', summary, '--exec'];
    const result = await polyvisor([...words, 'ping -c 3 10.0.2.2 >/dev/null && ifconfig eth0 | grep -o 10.0.2.15'], {
      limit: 300,
    });
    assert.equal(result.stdout, '10.0.2.15\n', result.stderr);
    const { instructions, networks } = JSON.parse(readFileSync(summary, 'utf8'));
    counts.push({ instructions, networks });
  }
  assert.deepEqual(counts[0], counts[1]);
});

test('guests of two hypervisors on one switch', { timeout: 400_000 }, async () => {
  const run = (name: string, script: string) => {
    const words = ['run', '-H', name, '--net', `switch=test-${process.pid}`, '--timeout', '240', '--exec', script];
    return polyvisor(words, { limit: 300 });
  };
  const [server, client] = await Promise.all([
    run(
      'xen-pv',
      'ifconfig eth0 10.9.0.1; head -c 8388608 /dev/urandom >/tmp/file; nc -l -p 9000 </tmp/file; sha256sum </tmp/file',
    ),
    run(
      'kvm',
      // An end of input would be passed on, and end the server.
      `ifconfig eth0 10.9.0.2
mkfifo /tmp/open; sleep 1000 >/tmp/open &
for try in $(seq 300); do
  nc 10.9.0.1 9000 </tmp/open >/tmp/file 2>/dev/null && [ -s /tmp/file ] && break
  sleep 0.5
done
sha256sum </tmp/file`,
    ),
  ]);
  assert.deepEqual([server.status, client.status], [0, 0], server.stderr + client.stderr);
  assert.match(client.stdout, /^[0-9a-f]{64} {2}-\n$/);
  assert.equal(client.stdout, server.stdout);
});

test('with --net none there is no card', { timeout: 400_000 }, async () => {
  const result = await polyvisor(['run', '-H', 'kvm', '--net', 'none', '--exec', 'ls /sys/class/net']);
  assert.equal(result.stdout, 'lo\n', result.stderr);
});
