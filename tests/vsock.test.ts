/** Programs of a guest and of its host have connections by AF_VSOCK, whatever device carries them. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { hasCompiler } from '../bench/workloads.ts';
import { polyvisor } from './command.ts';
import { root } from './sources.ts';

const BYTES = 300_000;
const [HOST_PORT, GUEST_PORT] = [52, 1234];

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-vsock-'));
const skip = (!hasCompiler() && 'needs gcc') as string | false;
before(() => {
  if (skip === false)
    execFileSync('gcc', ['-static', '-O2', '-o', join(folder, 'echo'), join(root, 'guests/vsock/echo.c')]);
});
after(() => rmSync(folder, { recursive: true }));

for (const hypervisor of ['kvm', 'hyperv'])
  test(`${hypervisor}: connections both ways bring what was sent, and end`, { skip }, async () => {
    const path = join(folder, hypervisor);
    const server = createServer({ allowHalfOpen: true }, socket => socket.pipe(socket));
    await new Promise<void>(resolve => server.listen(`${path}_${HOST_PORT}`, resolve));
    let echoed: Promise<Buffer> | undefined;
    try {
      const program = '/mnt/share/echo';
      const command = `${program} listen ${GUEST_PORT} & ${program} connect ${HOST_PORT} ${BYTES}; wait; echo over`;
      const { stdout, stderr } = await polyvisor(
        ['run', '-H', hypervisor, '--vsock', path, '--share', folder, '--exec', command],
        {
          onOutput(text) {
            if (text.includes('listening')) echoed ??= ask(path, Buffer.alloc(BYTES, 'abc'));
          },
        },
      );
      let sum = 0;
      for (let at = 0; at < BYTES; at++) sum += ((at % 65536) * 7) & 0xff;
      assert.match(stdout, new RegExp(`^${BYTES} bytes came back, their sum is ${sum}$`, 'm'), stderr);
      assert.match(stdout, /^over$/m);
      assert.deepEqual(await echoed, Buffer.alloc(BYTES, 'abc'));
    } finally {
      server.close();
    }
  });

/** Connects to the guest's port, sends, and says nothing more. @returns what came back before the end */
function ask(path: string, data: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    const socket = connect(path, () => socket.write(`CONNECT ${GUEST_PORT}\n`));
    socket.on('error', reject);
    socket.on('data', piece => {
      if (pieces.length === 0) socket.end(data);
      pieces.push(piece);
    });
    socket.on('end', () => {
      const [, rest] = /^OK \d+\n([\s\S]*)$/.exec(Buffer.concat(pieces).toString('latin1')) ?? [];
      if (rest === undefined) reject(new Error(`no OK: ${Buffer.concat(pieces)}`));
      else resolve(Buffer.from(rest, 'latin1'));
    });
  });
}
