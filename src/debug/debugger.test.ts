/** gdb's protocol with a client that is a script, over machines whose guests are a few instructions. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { tinyKernel } from '../conformance/tiny-elf.ts';
import { createMachine } from '../machine/machine.ts';
import type { MachineOptions } from '../machine/options.ts';
import { Debugger } from './debugger.ts';
import { fromHex, PACKET_SIZE, PacketReader, packet, textToHex, toHex } from './packets.ts';

const MEMORY = 16 << 20;
const DATA = 0x200000;
const u32 = (value: number) => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >>> 24) & 0xff];
/** mov eax, 1; mov [DATA], eax; inc eax; jmp to the mov to memory. */
const LOOP = [0xb8, ...u32(1), 0xa3, ...u32(DATA), 0x40, 0xeb, 0xf8];
/** Offsets of its instructions. */
const [STORE, INC, JMP] = [5, 10, 11];
const text = (bytes: Uint8Array) => String.fromCharCode(...bytes);

/** A client that asks and waits for the answer. */
async function start(code: readonly number[], options: Partial<MachineOptions> = {}) {
  const machine = await createMachine({ kernel: tinyKernel([...code]), memory: MEMORY, ...options });
  const subject = new Debugger(machine);
  const reader = new PacketReader();
  const answers: string[] = [];
  let wake = () => {};
  let closed = false;
  const client = subject.connect({
    send(bytes) {
      for (const received of reader.read(bytes))
        answers.push(received.kind === 'packet' ? received.data : received.kind);
      wake();
    },
    close: () => void (closed = true),
  });
  assert.ok(client);
  const next = async (): Promise<string> => {
    while (answers.length === 0)
      await new Promise<void>(resolve => {
        wake = resolve;
      });
    return answers.shift()!;
  };
  const ask = (data: string) => {
    client.receive(packet(data));
    return next();
  };
  const ended = subject.run();
  const registers = (await ask('g')).length / 2;
  assert.ok(registers > 500);
  const rip = async () => Number(fromHex(await ask('p10'))!.reduceRight((sum, byte) => sum * 256 + byte, 0));
  const begin = await rip();
  return { machine, subject, client, ask, next, ended, rip, begin, answers, isClosed: () => closed };
}
const at = (address: number) => address.toString(16);

describe('packets', () => {
  test('in any pieces; escaped, damaged, oversized; and what is between them', () => {
    const reader = new PacketReader();
    const all = [
      0x2b,
      ...packet('m0,4'),
      0x03,
      0x2d,
      ...packet('X#$}*\u0003'),
      ...new TextEncoder().encode('$g#00$lost$?#3f'),
    ];
    const received = all.flatMap(byte => [...reader.read(Uint8Array.of(byte))]);
    assert.deepEqual(received, [
      { kind: 'packet', data: 'm0,4' },
      { kind: 'interrupt' },
      { kind: 'again' },
      { kind: 'packet', data: 'X#$}*\u0003' },
      { kind: 'damaged' },
      { kind: 'packet', data: '?' },
    ]);
    assert.deepEqual([...reader.read(packet('g'.repeat(PACKET_SIZE + 1)))], [{ kind: 'oversized' }]);
    assert.equal(text(packet('OK')), '$OK#9a');
  });
});

describe('a debugger', () => {
  test('stands still at first, steps, and stops at breakpoints, in either tier; the guest sees none of them', async () => {
    for (const engine of ['jit', 'interpreter'] as const) {
      const { ask, rip, begin, subject, ended, machine } = await start(LOOP, { engine });
      assert.equal(machine.instructions, 0);
      assert.match(await ask('qSupported:swbreak+'), /PacketSize=4000.*vContSupported\+/);
      assert.equal(await ask('?'), 'T02thread:01;');
      assert.equal(await ask('s'), 'T05thread:01;');
      assert.equal(await rip(), begin + STORE);
      assert.equal(machine.instructions, 1);
      assert.equal(await ask(`Z0,${at(begin + INC)},1`), 'OK');
      for (let round = 1; round < 5; round++) {
        assert.equal(await ask('vCont;c'), 'T05thread:01;swbreak:;');
        assert.equal(await rip(), begin + INC);
        assert.equal(await ask(`m${at(DATA)},4`), toHex(u32(round)));
        assert.equal(machine.instructions, 2 + 3 * (round - 1));
      }
      assert.equal(await ask(`m${at(begin)},${LOOP.length.toString(16)}`), toHex(LOOP));
      assert.equal(await ask('vCont;s:1;c'), 'T05thread:01;');
      assert.equal(await rip(), begin + JMP);
      assert.equal(await ask(`z0,${at(begin + INC)},1`), 'OK');
      subject.stop();
      assert.deepEqual(await ended, { kind: 'stopped' });
    }
  });

  test('breakpoints at every instruction, and at offsets in the page that others have, too', async () => {
    const { ask, rip, begin } = await start(LOOP);
    for (const offset of [0, STORE, INC, JMP]) assert.equal(await ask(`Z1,${at(begin + offset)},1`), 'OK');
    for (let i = 0; i < 4; i++) assert.equal(await ask(`Z0,${at(begin + 0x1000 + i)},1`), 'OK');
    const seen: number[] = [];
    for (let i = 0; i < 7; i++) {
      assert.equal(await ask('c'), 'T05thread:01;');
      seen.push((await rip()) - begin);
    }
    assert.deepEqual(seen, [0, STORE, INC, JMP, STORE, INC, JMP]);
    assert.equal(await ask('k'.replace('k', 'vKill;1')), 'OK');
  });

  test('Ctrl-C while translated code runs; a breakpoint in that code; and translated code again afterwards', async () => {
    const { client, ask, next, begin, rip, machine } = await start(LOOP);
    const regions = () => machine.statistics.translation!.regions!;
    const runFor = async (milliseconds: number) => {
      client.receive(packet('c'));
      setTimeout(() => client.receive(Uint8Array.of(3)), milliseconds);
      assert.equal(await next(), 'T02thread:01;');
    };
    await runFor(300);
    const before = regions();
    assert.ok(before > 0, 'the loop is hot');
    await ask(`Z0,${at(begin + INC)},1`);
    const from = machine.instructions;
    for (let i = 0; i < 3; i++) assert.equal(await ask('c'), 'T05thread:01;');
    assert.equal(await rip(), begin + INC);
    assert.ok(machine.instructions - from <= 9, 'each time round');
    await ask(`z0,${at(begin + INC)},1`);
    await runFor(300);
    assert.ok(regions() > before);
    await ask('vKill;1');
  });

  test('a run with breakpoints on the way is the same run, to the instruction', async () => {
    const { ask, begin, machine, subject, ended } = await start(LOOP);
    await ask(`Z0,${at(begin + INC)},1`);
    for (let i = 0; i < 50; i++) await ask('c');
    await ask(`z0,${at(begin + INC)},1`);
    const reference = await createMachine({ kernel: tinyKernel([...LOOP]), memory: MEMORY });
    await reference.run({ instructions: machine.instructions });
    assert.equal(machine.describe(), reference.describe());
    assert.equal(machine.statistics.guestTime, reference.statistics.guestTime);
    subject.stop();
    await ended;
  });

  test('watchpoints: on writes, after the instruction; not on reads', async () => {
    // mov ebx, [DATA]; mov eax, 7; mov [DATA + 2], ax; jmp to the beginning
    const code = [0x8b, 0x1d, ...u32(DATA), 0xb8, ...u32(7), 0x66, 0xa3, ...u32(DATA + 2), 0xeb, 0xed];
    const { ask, rip, begin } = await start(code);
    assert.equal(await ask(`Z2,${at(DATA)},4`), 'OK');
    assert.equal(await ask('c'), `T05thread:01;watch:${at(DATA + 2)};`);
    assert.equal(await rip(), begin + 17);
    assert.equal(await ask(`m${at(DATA)},4`), '00000700');
    assert.equal(await ask(`z2,${at(DATA)},4`), 'OK');
    assert.equal(await ask(`Z3,${at(DATA)},1`), 'OK');
    assert.equal(await ask('c'), `T05thread:01;rwatch:${at(DATA)};`);
    assert.equal(await rip(), begin + 6);
    await ask('vKill;1');
  });

  test('registers and memory: read, written, and refused where they cannot be', async () => {
    const { ask, begin, rip } = await start(LOOP);
    assert.equal(await ask(`P0=${toHex(u32(0x1234))}00000000`), 'OK');
    assert.equal(await ask('p0'), '3412000000000000');
    const all = await ask('g');
    assert.equal(await ask(`G${all}`), 'OK');
    assert.equal(await ask(`G${all.slice(2)}`), 'E16');
    assert.equal(await ask('P12=ffff0000'), 'E16', 'a selector is not loaded by writing it');
    assert.equal(await ask('pffff'), 'E16');
    assert.equal(await ask(`M${at(DATA)},4:deadbeef`), 'OK');
    assert.equal(await ask(`X${at(DATA + 2)},2:#}`), 'OK');
    assert.equal(await ask(`m${at(DATA)},4`), 'dead237d');
    assert.equal(await ask(`m${at(MEMORY - 2)},10`), '0000', 'as much as there is');
    assert.equal(await ask(`m${at(MEMORY)},4`), 'E0e');
    assert.equal(await ask(`M${at(MEMORY - 1)},2:0000`), 'E0e');
    assert.equal(await ask('mffffffffffffffff,ffffffffffffffff'), 'E0e');
    // Code that is written to is executed as it is now: nop for inc eax.
    await ask('s');
    assert.equal(await ask(`X${at(begin + INC)},1:\x90`), 'OK');
    for (let i = 0; i < 3; i++) await ask('s');
    assert.equal(await rip(), begin + STORE);
    assert.equal(await ask('p0'), '0100000000000000');
    await ask('vKill;1');
  });

  test('the description, threads, and what a person asks', async () => {
    const { ask, next } = await start(LOOP, { cpus: 2 });
    let description = '';
    for (let part = 'm'; part[0] === 'm'; description += part.slice(1))
      part = await ask(`qXfer:features:read:target.xml:${description.length.toString(16)},800`);
    const sizes = [...description.matchAll(/bitsize="(\d+)"/g)].map(([, bits]) => Number(bits));
    assert.equal(sizes.reduce((sum, bits) => sum + bits, 0) / 4, (await ask('g')).length);
    for (const name of ['rax', 'rip', 'eflags', 'st7', 'xmm15', 'mxcsr', 'fs_base', 'cr3', 'efer'])
      assert.match(description, new RegExp(`name="${name}"`));
    assert.equal(await ask('qfThreadInfo'), 'm01,02');
    assert.equal(text(fromHex(await ask('qThreadExtraInfo,2'))!), 'processor 1: waits to be started');
    assert.equal(await ask('T3'), 'E16');
    assert.equal(
      await ask(`qRcmd,${textToHex('help')}`).then(answer => text(fromHex(answer.slice(1))!).split(' ')[0]),
      'help',
    );
    assert.equal(await next(), 'OK');
    assert.match(text(fromHex((await ask(`qRcmd,${textToHex('registers')}`)).slice(1))!), /rip.*\n.*efer/s);
    assert.equal(await next(), 'OK');
    assert.equal(await ask('vMustReplyEmpty'), '');
  });

  test('Ctrl-C, a halted guest, one that ends, and a client that leaves or vanishes', async () => {
    const { client, ask, next, subject, isClosed, ended } = await start([0xfb, 0xf4, 0xeb, 0xfd]); // sti; hlt; again
    client.receive(packet('c'));
    setTimeout(() => client.receive(Uint8Array.of(0x03)), 20);
    assert.equal(await next(), 'T02thread:01;');
    assert.equal(subject.connect({ send() {}, close() {} }), undefined, 'one at a time');
    client.gone();
    const second = subject.connect({ send: () => {}, close: () => {} });
    assert.ok(second);
    second.receive(packet('D'));
    second.gone();
    setTimeout(() => subject.stop(), 20);
    assert.deepEqual(await ended, { kind: 'stopped' });
    assert.equal(isClosed(), false);
    void ask;

    const short = await start([0xfa, 0xf4]); // cli; hlt
    assert.match(text(fromHex((await short.ask('c')).slice(1))!), /dead-halt/);
    assert.equal(await short.next(), 'W01');
    assert.equal(short.isClosed(), true);
    assert.deepEqual(await short.ended, { kind: 'dead-halt' });
  });
});

test('seeded nonsense: every packet is answered or passed over, and the machine is still there', async () => {
  const { client, ask, machine, answers } = await start(LOOP);
  let seed = 20;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 8) % below;
  };
  const beginnings = [
    'm',
    'M',
    'X',
    'P',
    'p',
    'G',
    'Z0,',
    'Z2,',
    'z',
    'H',
    'T',
    'qXfer:features:read:',
    'qRcmd,',
    'vCont;x',
    'q',
    'Q',
    'b',
  ];
  const letters = '0123456789abcdef,:;=-+.gcsk\u0000\u00ff}';
  const from = machine.instructions;
  for (let i = 0; i < 3000; i++) {
    let data = beginnings[random(beginnings.length)]!;
    for (let length = random(24); length > 0; length--) data += letters[random(letters.length)];
    const bytes = packet(data);
    if (random(4) === 0) bytes[random(bytes.length)] = random(256);
    client.receive(bytes);
  }
  client.receive(Uint8Array.from({ length: 100_000 }, () => random(256)));
  client.receive(packet('g'.repeat(3 * PACKET_SIZE)));
  assert.ok(answers.length > 1000);
  assert.equal(machine.instructions, from, 'nothing of it lets the guest go on');
  answers.length = 0;
  const answer = await ask('qfThreadInfo');
  assert.ok([answer, ...answers].includes('m01'));
});
