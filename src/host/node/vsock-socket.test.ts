/** The UNIX sockets of a vsock, with a guest that accepts everything at port 7 and echoes. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { TcpHandler, TcpSocket } from '../sockets.ts';
import { VsockInUseError, vsockPrograms } from './vsock-socket.ts';

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-vsock-'));
after(() => rmSync(folder, { recursive: true }));

/** What a peer sends up to its end. */
async function everything(socket: ReturnType<typeof createConnection>): Promise<string> {
  let text = '';
  for await (const piece of socket) text += piece;
  return text;
}

test('a program reaches the guest by CONNECT, and learns that it has', async () => {
  const path = join(folder, 'a');
  const programs = await vsockPrograms(path);
  programs.attach((port, socket: TcpSocket, connected): TcpHandler => {
    if (port !== 7) {
      setImmediate(() => socket.reset());
      return { data() {}, ended() {}, drained() {}, closed() {} };
    }
    connected(1234);
    socket.resume();
    return { data: bytes => socket.write(bytes), ended: () => socket.end(), drained() {}, closed() {} };
  });
  const talk = async (text: string) => {
    const socket = createConnection({ path, allowHalfOpen: true });
    socket.end(text);
    return everything(socket);
  };
  assert.equal(await talk('CONNECT 7\nhello\n'), 'OK 1234\nhello\n');
  assert.equal(await talk('CONNECT 8\nhello\n'), '', 'a guest that refuses');
  for (const nonsense of ['hello\n', 'CONNECT\n', 'CONNECT 99999999999\n', 'CONNECT 4294967295\n', 'x'.repeat(100), ''])
    assert.equal(await talk(nonsense), '', nonsense);
  await assert.rejects(vsockPrograms(path), VsockInUseError);
  programs.close();
  // What a process leaves behind that is killed is no obstacle; a file that is no socket is.
  const again = await vsockPrograms(path);
  again.close();
  await assert.rejects(vsockPrograms(join(folder, 'nowhere', 'a')), /nowhere is not there, or you may not write to it/);
});

test('the guest reaches the socket that has its port in its name', async () => {
  const path = join(folder, 'b');
  const programs = await vsockPrograms(path);
  const server = createServer(socket => void socket.pipe(socket)).listen(`${path}_52`);
  await once(server, 'listening');
  const heard: string[] = [];
  const done = new Promise<void>(resolve => {
    const socket = programs.open(52, {
      connected: () => {
        socket.write(Buffer.from('ping'));
        socket.end();
      },
      data: bytes => void heard.push(Buffer.from(bytes).toString()),
      ended: () => void heard.push('ended'),
      drained() {},
      closed: () => resolve(),
    });
  });
  await done;
  assert.deepEqual(heard, ['ping', 'ended']);
  const error = await new Promise(resolve => {
    programs.open(53, { data() {}, ended() {}, drained() {}, closed: resolve });
  });
  assert.equal(error, 'other');
  server.close();
  programs.close();
});
