/** Debian's gdb and Debian's kernel: `run --gdb` stops at a function of the kernel, shows where, steps, and goes on. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseKernel } from '../src/boot/image.ts';
import { readKallsyms } from '../src/boot/kallsyms.ts';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import { ensureGuest } from '../src/host/node/index.ts';
import { polyvisor } from './command.ts';

const hasGdb = spawnSync('gdb', ['--version']).status === 0;

/** gdb with a person who types. */
function startGdb() {
  // One pipe for what it says and for its errors: by two of them an error may come after the mark that ends its answer.
  const words = ['-c', 'exec gdb -q -nx -nh 2>&1'];
  const child = spawn('sh', words, { stdio: 'pipe', env: { ...process.env, LC_ALL: 'C' } });
  let shown = '';
  let wake = () => {};
  const hear = (data: Buffer) => {
    shown += data;
    wake();
  };
  child.stdout.on('data', hear);
  /** Types a line. @returns what is shown for it, up to the next prompt */
  const ask = async (line: string): Promise<string> => {
    shown = '';
    // Its output ends with what nobody else says.
    child.stdin.write(`${line}\necho \\nDONE\\n\n`);
    while (!shown.includes('\nDONE\n'))
      await new Promise<void>(resolve => {
        wake = resolve;
      });
    return shown;
  };
  return { child, ask };
}

/** A guest that waits for gdb. @param debug what gdb does, and ends by killing the guest */
async function withGdb(
  gdb: ReturnType<typeof startGdb>,
  words: readonly string[],
  debug: (where: string) => Promise<void>,
  onOutput = (_text: string) => {},
): Promise<void> {
  let said = '';
  let session: Promise<void> | undefined;
  let failure: unknown;
  const result = await polyvisor(['run', ...words, '--gdb', '0', '--timeout', '150'], {
    limit: 170,
    onOutput,
    onError(text) {
      said += text;
      const [, where] = /target remote (127\.0\.0\.1:\d+)/.exec(said) ?? [];
      if (where)
        session ??= debug(where)
          .catch(error => {
            failure = error;
          })
          .finally(() => gdb.child.kill('SIGKILL'));
    },
  });
  await session;
  assert.ifError(failure);
  assert.ok(session, said);
  assert.equal(result.status, 0, result.stderr);
}

test('gdb: a breakpoint in the kernel, registers, memory, steps, threads, Ctrl-C', {
  skip: hasGdb ? false : 'there is no gdb here',
}, async () => {
  const guest = await ensureGuest({ architecture: 'amd64' });
  const { elf } = await parseKernel(readFileSync(guest.kernel));
  const { address } = readKallsyms(elf!.bytes, true).find(({ name }) => name === 'kernel_execve')!;
  const gdb = startGdb();
  async function debug(where: string): Promise<void> {
    for (const line of ['set pagination off', 'set confirm off', 'set tcp connect-timeout 20']) await gdb.ask(line);
    assert.match(await gdb.ask(`target remote ${where}`), /Remote debugging using/);
    assert.match(await gdb.ask('p $_siginfo'), /DONE/);
    await gdb.ask(`break *0x${address.toString(16)}`);
    assert.match(await gdb.ask('continue'), /hit Breakpoint 1, 0x/);
    const rip = async () => BigInt(/= (0x[0-9a-f]+)/.exec(await gdb.ask('p/x $rip'))![1]!);
    assert.equal(await rip(), address);
    assert.match(await gdb.ask('x/s $rdi'), /"\/(?:init|sbin\/modprobe)"/, 'what is to be executed');
    assert.match(await gdb.ask('p/x $cr0'), /0x8005003[0-9a-f]/);
    assert.match(await gdb.ask('p $eflags'), /\[ .*IF.*\]/);
    // What has AVX is shown by its ymm registers alone, after all others.
    const registers = await gdb.ask('info all-registers');
    assert.match(registers, /fs_base.*\n(.*\n)*.*efer/);
    assert.match(registers, /[xy]mm15 /);
    const length = await gdb.ask('x/2i $rip');
    const second = BigInt(/\n\s+(0x[0-9a-f]+):/.exec(length)![1]!);
    await gdb.ask('stepi');
    assert.equal(await rip(), second, length);
    const threads = await gdb.ask('info threads');
    for (const processor of [0, 1, 2, 3]) assert.match(threads, new RegExp(`processor ${processor}`));
    assert.match(await gdb.ask('monitor ops'), /irq\./);
    await gdb.ask('delete');
    setTimeout(() => gdb.child.kill('SIGINT'), 3000);
    assert.match(await gdb.ask('continue'), /received signal SIGINT/);
    assert.match(await gdb.ask('p $rip'), /= \(/);
    await gdb.ask('kill');
  }
  await withGdb(gdb, ['-H', 'kvm', '--cpus', '4', '--clock', 'virtual', '--exec', 'while :; do :; done'], debug);
});

/** What gdb does in a guest that can go back. */
async function goBack(gdb: ReturnType<typeof startGdb>, where: string): Promise<void> {
  const guest = await ensureGuest({ architecture: 'amd64' });
  const { elf } = await parseKernel(readFileSync(guest.kernel));
  const symbols = readKallsyms(elf!.bytes, true);
  const addressOf = (name: string) => `0x${symbols.find(symbol => symbol.name === name)!.address.toString(16)}`;
  for (const line of ['set pagination off', 'set confirm off', 'set tcp connect-timeout 20']) await gdb.ask(line);
  await gdb.ask(`target remote ${where}`);
  const rip = async () => BigInt(/= (0x[0-9a-f]+)/.exec(await gdb.ask('p/x $rip'))![1]!);
  const variable = `*(char **)${addressOf('saved_command_line')}`;
  const read = async () => BigInt(/= (0x[0-9a-f]+)/.exec(await gdb.ask(`p/x ${variable}`))![1]!);
  // Written in setup_command_line, between these two.
  await gdb.ask(`break *${addressOf('setup_per_cpu_areas')}`);
  assert.match(await gdb.ask('continue'), /Breakpoint 1, 0x/);
  const written = await read();
  assert.notEqual(written, 0n);
  await gdb.ask('delete');
  await gdb.ask(`watch ${variable}`);
  assert.match(await gdb.ask('reverse-continue'), /Old value = .*0x[0-9a-f]+.*\n.*New value = .*0x0/);
  const writer = await rip();
  assert.equal(await read(), 0n, 'before the write');
  await gdb.ask('delete');
  await gdb.ask('stepi');
  assert.equal(await read(), written);
  await gdb.ask('reverse-stepi');
  assert.equal(await rip(), writer);
  await gdb.ask(`break *${addressOf('start_kernel')}`);
  assert.match(await gdb.ask('reverse-continue'), /Breakpoint 3, 0x/);
  assert.equal(await rip(), BigInt(addressOf('start_kernel')));
  assert.match(await gdb.ask('reverse-continue'), /No more reverse-execution history/);
}

test('gdb goes back: from a function of the kernel to what a variable was written by, by steps, and to the beginning', {
  skip: hasGdb ? false : 'there is no gdb here',
}, async () => {
  const gdb = startGdb();
  await withGdb(gdb, ['-H', 'kvm', '--clock', 'virtual', '--net', 'none'], async where => {
    await goBack(gdb, where);
    await gdb.ask('kill');
  });
});

test('gdb goes back in a recording on the host’s clock with a network, which ends as it did and cannot be changed', {
  skip: hasGdb ? false : 'there is no gdb here',
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'polyvisor-'));
  const recording = join(folder, 'recording');
  try {
    const recorded = await polyvisor(['run', '-H', 'kvm', '--cpus', '2', '--record', recording], {
      signal: { after: 'Brought up', name: 'SIGTERM' },
    });
    assert.equal(recorded.status, 143, recorded.stderr);
    const gdb = startGdb();
    await withGdb(gdb, ['--replay', recording], async where => {
      await goBack(gdb, where);
      await gdb.ask('delete');
      assert.match(await gdb.ask('p $rax = 1'), /[Cc]ould not write register/);
      assert.match(await gdb.ask('continue'), /the recording has ended; it can go back/);
      const rip = async () => /= (0x[0-9a-f]+)/.exec(await gdb.ask('p/x $rip'))![1];
      const last = await rip();
      await gdb.ask('reverse-stepi');
      await gdb.ask('stepi');
      assert.equal(await rip(), last);
      await gdb.ask('kill');
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('what cannot go back says why', { skip: hasGdb ? false : 'there is no gdb here' }, async () => {
  const gdb = startGdb();
  await withGdb(gdb, ['--clock', 'virtual'], async where => {
    await gdb.ask(`target remote ${where}`);
    assert.match(await gdb.ask('reverse-stepi'), /needs a run that repeats: .*: --net none\n/);
    await gdb.ask('kill');
  });
});

test('gdb comes to a guest that hangs with interrupts off, and sees where', {
  skip: hasGdb ? false : 'there is no gdb here',
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'polyvisor-'));
  const kernel = join(folder, 'kernel');
  // mov ebx, 7; mov dx, 0x3f8; mov al, '!'; out dx, al; cli; jmp to itself
  writeFileSync(kernel, tinyKernel([0xbb, 7, 0, 0, 0, 0x66, 0xba, 0xf8, 0x03, 0xb0, 0x21, 0xee, 0xfa, 0xeb, 0xfe]));
  let onOutput = () => {};
  const output = new Promise<void>(resolve => {
    onOutput = resolve;
  });
  try {
    const gdb = startGdb();
    await withGdb(
      gdb,
      ['-k', kernel, '--net', 'none'],
      async where => {
        const [address, port] = where.split(':') as [string, string];
        // Somebody else lets it go on, and leaves.
        await new Promise<void>((resolve, reject) => {
          const socket = connect(Number(port), address, () => socket.write('$D#44'));
          socket
            .on('error', reject)
            .on('close', () => resolve())
            .once('data', () => socket.end());
        });
        await output;
        for (const line of ['set pagination off', 'set confirm off', 'set architecture i386:x86-64'])
          await gdb.ask(line);
        assert.match(await gdb.ask(`target remote ${where}`), /Remote debugging using/);
        assert.match(await gdb.ask('x/i $rip'), /jmp\s+0x10000d\n/);
        assert.match(await gdb.ask('p $rbx'), /= 7\n/);
        assert.doesNotMatch(await gdb.ask('p $eflags'), /IF/);
        await gdb.ask('stepi');
        assert.match(await gdb.ask('p/x $rip'), /= 0x10000d\n/);
        await gdb.ask('kill');
      },
      onOutput,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a port that is taken is said, with status 75; so is what is no port, with 64', async () => {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  const taken = await polyvisor(['run', '--gdb', `${port}`]);
  server.close();
  assert.equal(taken.status, 75);
  assert.match(taken.stderr, new RegExp(`^polyvisor: --gdb tcp 127.0.0.1:${port}: another program uses this port\n$`));
  const none = await polyvisor(['run', '--gdb', 'here']);
  assert.equal(none.status, 64);
  assert.match(none.stderr, /^polyvisor: --gdb here: a port/);
});

test('a client that talks nonsense and vanishes does no harm; the next one lets the guest run', async () => {
  let said = '';
  let port: number | undefined;
  const talk = (data: string) =>
    new Promise<void>(resolve => {
      const socket = connect(port!, '127.0.0.1', () => socket.write(data));
      socket.on('error', () => {});
      socket.once('data', () => socket.resetAndDestroy());
      // The other side has to hear of it before the next one comes: one at a time.
      socket.on('close', () => setTimeout(resolve, 500));
    });
  const result = await polyvisor(['run', '-H', 'kvm', '--gdb', '0', '--timeout', '150', '--exec', 'echo hello'], {
    onError(text) {
      said += text;
      if (port !== undefined || !/target remote 127/.test(said)) return;
      port = Number(/127\.0\.0\.1:(\d+)/.exec(said)![1]);
      void talk(`${'x'.repeat(100_000)}$${'y'.repeat(100_000)}#00$vCont;;#xx`)
        .then(() => talk('$g#67'))
        .then(() => talk('$D#44'));
    },
  });
  assert.equal(result.status, 0, result.stderr);
  assert.equal(result.stdout, 'hello\n');
  assert.doesNotMatch(result.stderr, /mistake|\n\s+at /);
});
