/** `--serial`: a program of the host's at a guest's second serial port, and a file that cannot be written to its end. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import { polyvisor } from './command.ts';

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-serial-'));
after(() => rmSync(folder, { recursive: true }));

test('what a program of the host says and hears at a socket, Linux hears and says at ttyS1', async () => {
  const path = join(folder, 'socket');
  let answer: Promise<string> | undefined;
  // The port is set first: a terminal would echo, and wait for the end of a line.
  const command = [
    'stty -F /dev/ttyS1 raw -echo 115200',
    'exec 3<>/dev/ttyS1',
    'echo listening',
    'head -c 3000 <&3 | md5sum',
    'head -c 3000 /dev/zero | tr "\\0" x >&3',
    // What is written is sent before the port is closed.
    'stty -F /dev/ttyS1 >/dev/null',
  ].join('; ');
  const said = Buffer.alloc(3000, 'polyvisor ');
  const { stdout, stderr, status } = await polyvisor(
    ['run', '-H', 'bare', '--serial', `unix:${path}`, '--exec', command],
    {
      onOutput(text) {
        if (text.includes('listening')) answer ??= hear(path, said, 3000);
      },
    },
  );
  assert.equal(status, 0, stderr);
  const digest = createHash('md5').update(said).digest('hex');
  assert.match(stdout, new RegExp(`^${digest}`, 'm'));
  assert.equal(await answer, 'x'.repeat(3000));
});

/** Connects, says `data`, and hears so many bytes. */
function hear(path: string, data: Buffer, wanted: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(path, () => socket.write(data));
    socket.on('error', reject);
    socket.on('close', () => reject(new Error(`only ${text.length} bytes came`)));
    socket.on('data', piece => {
      text += piece.toString('latin1');
      if (text.length < wanted) return;
      resolve(text);
      socket.destroy();
    });
  });
}

test('a file on a full disk ends the run with a line; one that can be written has all of it', async () => {
  const kernel = join(folder, 'kernel');
  // mov dx, COM2; mov al, 'x'; mov ecx, 5; again: out dx, al; loop again; hlt
  writeFileSync(
    kernel,
    tinyKernel([...[0x66, 0xba, 0xf8, 0x02, 0xb0, 0x78, 0xb9, 5, 0, 0, 0], ...[0xee, 0xe2, 0xfd, 0xf4]]),
  );
  const run = (file: string) => polyvisor(['run', '-H', 'bare', '-k', kernel, '--net', 'none', '--serial', file]);
  const full = await run('/dev/full');
  assert.deepEqual(
    [full.status, full.stderr],
    [74, 'polyvisor: --serial /dev/full: the disk is full: free some space and try again\n'],
  );
  const file = join(folder, 'file');
  assert.equal((await run(file)).status, 123);
  assert.equal(readFileSync(file, 'latin1'), 'xxxxx');
});
