/** Network cards: TCP out of the guest and into it, questions over TCP, and datagrams, with a server on the host's loopback. */
import { createSocket } from 'node:dgram';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import type { Bench } from './bench.ts';
import { compiled, type DeviceCase, hexadecimal, measureDevices, randomNumbers, type Task } from './devices.ts';

const BLOCK = 65536;
const BLOCKS_A_MEBIBYTE = 16;
const MEBIBYTES = 100;
const REQUESTS = 2000;
const REQUEST_SIZE = 64;
const PACKETS = 5000;

const user = (device: string) => ['-netdev', 'user,id=net', '-device', `${device},netdev=net`];
const CASES: readonly DeviceCase[] = [
  { name: 'virtio under kvm', hypervisor: 'kvm', plugged: { network: true }, qemu: user('virtio-net-pci') },
  { name: 'vmxnet3 under vmware', hypervisor: 'vmware', plugged: { network: true }, qemu: user('vmxnet3') },
  { name: 'netvsc under hyperv', hypervisor: 'hyperv', plugged: { network: true } },
  { name: 'netif under xen-pvh', hypervisor: 'xen-pvh', plugged: { network: true } },
  { name: 'netif under xen-pv', hypervisor: 'xen-pv', plugged: { network: true } },
];

export const network: Bench = {
  name: 'network',
  title: 'network cards: TCP both ways, questions and packets a second, with a server on the host',
  usual: false,
  async run(context) {
    const servers = await openServers();
    try {
      return await measureDevices(context, compiled(context, 'network'), CASES, servers.tasks);
    } finally {
      servers.close();
    }
  },
};

function sumOfWords(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 4) sum = (sum + view.getUint32(at, true)) | 0;
  return sum;
}

async function openServers() {
  const block = new Uint8Array(BLOCK);
  const numbers = randomNumbers();
  const view = new DataView(block.buffer);
  for (let at = 0; at < BLOCK; at += 4) view.setUint32(at, numbers.next().value, true);
  const sum = Math.imul(sumOfWords(block), MEBIBYTES * BLOCKS_A_MEBIBYTE);
  const [sink, source, echo] = [
    await listen(takeAll),
    await listen(socket => giveBlocks(socket, block)),
    await listen(socket => void socket.pipe(socket)),
  ];
  const datagrams = createSocket('udp4');
  datagrams.on('message', (bytes, { port, address }) => datagrams.send(bytes, port, address));
  await new Promise<void>(done => datagrams.bind(0, '127.0.0.1', done));
  const portOf = (server: Server) => (server.address() as AddressInfo).port;
  const questions = (REQUESTS * (REQUESTS - 1)) / 2;
  const tasks: Task[] = [
    ['TCP out', `send ${portOf(sink)} ${MEBIBYTES}`, sum, MEBIBYTES, 'MiB'],
    ['TCP in', `receive ${portOf(source)} ${MEBIBYTES}`, sum, MEBIBYTES, 'MiB'],
    [`questions of ${REQUEST_SIZE} bytes`, `requests ${portOf(echo)} ${REQUESTS}`, questions, REQUESTS, 'questions'],
    ['datagrams there and back', `packets ${datagrams.address().port} ${PACKETS}`, PACKETS, PACKETS, 'packets'],
  ].map(([title, words, checksum, amount, unit]) => ({
    title: title as string,
    line: `network ${words}`,
    expected: hexadecimal(checksum as number),
    amount: amount as number,
    unit: unit as string,
  }));
  return {
    tasks,
    close() {
      for (const server of [sink, source, echo]) server.close();
      datagrams.close();
    },
  };
}

async function listen(serve: (socket: Socket) => void): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, socket => {
    socket.setNoDelay(true);
    socket.on('error', () => {});
    serve(socket);
  });
  await new Promise<void>(done => void server.listen(0, '127.0.0.1', done));
  return server;
}

/** Answers the sum of all 32-bit words, when the guest has sent them. */
function takeAll(socket: Socket): void {
  let sum = 0;
  /** Of a word whose rest has not come. */
  let rest = Buffer.alloc(0);
  socket.on('data', data => {
    const bytes = rest.length > 0 ? Buffer.concat([rest, data]) : data;
    const whole = bytes.length & ~3;
    sum = (sum + sumOfWords(bytes.subarray(0, whole))) | 0;
    rest = Buffer.from(bytes.subarray(whole));
  });
  socket.on('end', () => {
    const answer = Buffer.alloc(4);
    answer.writeInt32LE(sum);
    socket.end(answer);
  });
}

/** Sends as many blocks as the guest asks for, in MiB. */
function giveBlocks(socket: Socket, block: Uint8Array): void {
  socket.once('data', asked => {
    let left = asked.readUInt32LE(0) * BLOCKS_A_MEBIBYTE;
    const more = () => {
      while (left-- > 0) if (!socket.write(block)) return void socket.once('drain', more);
      socket.end();
    };
    more();
  });
}
