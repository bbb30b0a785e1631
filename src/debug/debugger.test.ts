/** gdb's protocol with a client that is a script, over machines whose guests are a few instructions. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { tinyKernel } from '../conformance/tiny-elf.ts';
import { createMachine } from '../machine/machine.ts';
import type { MachineOptions } from '../machine/options.ts';
import { createTimeline } from '../machine/timeline.ts';
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
async function start(code: readonly number[], options: Partial<MachineOptions> = {}, create = createMachine) {
  const machine = await create({ kernel: tinyKernel([...code]), memory: MEMORY, ...options });
  const subject = new Debugger(machine, () => {}, 'none is kept here');
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

/** A console, and what it has shown. */
function screen() {
  const seen = { text: '' };
  const console = { write: (data: Uint8Array) => void (seen.text += text(data)), onInput() {} };
  return { console, seen };
}
/** Writes what is typed (COM1) to memory and to the console; counts in DATA + 4 meanwhile; until a q is typed. */
const ECHO = [
  ...[0xff, 0x05, ...u32(DATA + 4), 0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf1], // inc [DATA + 4]; LSR; jz
  ...[0x66, 0xba, 0xf8, 0x03, 0xec, 0xa2, ...u32(DATA), 0xee, 0x3c, 0x71, 0x75, 0xe2, 0xf4], // in; mov [DATA]; out; jne
];

describe('the way back', () => {
  test('steps, breakpoints and watched writes, from the last to the first; then there is nothing before', async () => {
    for (const engine of ['jit', 'interpreter'] as const) {
      const { ask, rip, begin, machine, subject, ended } = await start(LOOP, { engine }, createTimeline);
      assert.match(await ask('qSupported:swbreak+'), /ReverseStep\+;ReverseContinue\+/);
      assert.equal(await ask('bc'), 'T05thread:01;replaylog:begin;');
      await ask(`Z0,${at(begin + INC)},1`);
      for (let round = 0; round < 5; round++) await ask('c');
      assert.equal(machine.instructions, 14);
      const registers = await ask('g');
      for (let count = 13; count >= 9; count--) {
        assert.equal(await ask('bs'), 'T05thread:01;');
        assert.equal(machine.instructions, count);
      }
      for (let count = 10; count <= 14; count++) await ask('s');
      assert.equal(await ask('g'), registers);
      assert.equal(await ask('bc'), 'T05thread:01;swbreak:;');
      assert.deepEqual([machine.instructions, await rip()], [11, begin + INC]);
      assert.equal(await ask(`m${at(DATA)},4`), toHex(u32(4)));
      await ask(`z0,${at(begin + INC)},1`);
      await ask(`Z2,${at(DATA)},4`);
      assert.equal(await ask('bc'), `T05thread:01;watch:${at(DATA)};`);
      assert.deepEqual([machine.instructions, await rip()], [10, begin + STORE]);
      assert.equal(await ask(`m${at(DATA)},4`), toHex(u32(3)));
      assert.equal(await ask('bc'), `T05thread:01;watch:${at(DATA)};`);
      assert.equal(machine.instructions, 7);
      assert.equal(await ask('c'), `T05thread:01;watch:${at(DATA)};`);
      assert.equal(machine.instructions, 8, 'forward it stops after the write');
      for (const count of [7, 4, 1, 0]) {
        await ask('bc');
        assert.equal(machine.instructions, count);
      }
      assert.equal(await ask('bs'), 'T05thread:01;replaylog:begin;');
      subject.stop();
      await ended;
    }
  });

  test('over snapshots, through millions of instructions; the guest goes on as if nothing had been', async () => {
    const { client, ask, rip, begin, machine, subject, ended } = await start(LOOP, {}, createTimeline);
    await ask(`Z0,${at(begin)},1`); // never again
    await ask('qSupported:swbreak+');
    await ask('s');
    await ask(`P2=${toHex(u32(0))}00000000`);
    const first = machine.instructions;
    setTimeout(() => client.receive(Uint8Array.of(3)), 1500);
    assert.equal(await ask('c'), 'T02thread:01;');
    const last = machine.instructions;
    assert.ok(last > 10e6, `${last}`);
    await ask(`Z0,${at(begin + JMP)},1`);
    const before = first + 3 * Math.floor((last - 1 - first - 2) / 3) + 2;
    assert.equal(await ask('bc'), 'T05thread:01;swbreak:;');
    assert.deepEqual([machine.instructions, await rip()], [before, begin + JMP]);
    assert.equal(await ask(`z0,${at(begin + JMP)},1`), 'OK');
    for (let i = 1; i <= 4; i++) await ask('bs');
    assert.equal(machine.instructions, before - 4);
    assert.equal(await ask('bc'), 'T05thread:01;replaylog:begin;', 'what was written begins a history');
    assert.equal(machine.instructions, first);
    const reference = await createMachine({ kernel: tinyKernel([...LOOP]), memory: MEMORY });
    await reference.run({ instructions: first });
    assert.equal(machine.describe(), reference.describe());
    subject.stop();
    await ended;
  });

  test('what is typed comes again, and is shown once', async () => {
    const { console, seen } = screen();
    const { ask, machine, next } = await start(ECHO, { console }, createTimeline);
    await ask(`Z2,${at(DATA)},1`);
    const places: number[] = [];
    for (const letter of ['a', 'b', 'c']) {
      setTimeout(() => machine.type(letter), 20);
      assert.equal(await ask('c'), `T05thread:01;watch:${at(DATA)};`);
      places.push(machine.instructions);
    }
    const count = await ask(`m${at(DATA + 4)},4`);
    const letters = async () => text(fromHex(await ask(`m${at(DATA)},1`))!);
    for (const [index, before] of [
      [2, 'b'],
      [1, 'a'],
      [0, '\0'],
    ] as const) {
      await ask('bc');
      assert.deepEqual([machine.instructions, await letters()], [places[index]! - 1, before]);
    }
    machine.type('q');
    for (const [index, letter] of ['a', 'b', 'c'].entries()) {
      await ask('c');
      assert.deepEqual([machine.instructions, await letters()], [places[index], letter]);
    }
    assert.equal(await ask(`m${at(DATA + 4)},4`), count);
    assert.equal(seen.text, 'ab');
    await ask('c');
    assert.equal(await letters(), 'q', 'what was typed in the past comes after it');
    assert.match(text(fromHex((await ask('c')).slice(1))!), /ended \(dead-halt\); it can go back/);
    assert.equal(await next(), 'T05thread:01;replaylog:end;');
    assert.equal(seen.text, 'abcq');
    await ask('bc');
    assert.equal(await letters(), 'c', 'back from the end of the guest');
    await ask('c');
    await ask('c');
    await next();
    assert.match(text(fromHex((await ask('c')).slice(1))!), /ended \(dead-halt\)/);
    assert.equal(await next(), 'W01');
  });

  test('what is written to the guest begins its history; a machine without one says why', async () => {
    const { ask, machine } = await start(LOOP, {}, createTimeline);
    for (let i = 0; i < 5; i++) await ask('s');
    await ask(`M${at(DATA)},4:00000000`);
    assert.equal(await ask('bs'), 'T05thread:01;replaylog:begin;');
    await ask('s');
    await ask('bs');
    assert.equal(machine.instructions, 5);
    await ask('vKill;1');
    const plain = await start(LOOP);
    await plain.ask('s');
    assert.match(text(fromHex((await plain.ask('bc')).slice(1))!), /needs a run that repeats: none is kept here/);
    assert.equal(await plain.next(), 'T05thread:01;replaylog:begin;');
    await plain.ask('vKill;1');
  });

  test('a watched write stops a run right after it, though the run would have ended a little later', async () => {
    const machine = await createMachine({ kernel: tinyKernel([...LOOP]), memory: MEMORY });
    const target = machine.debug();
    target.setBreakpoints(new Set(), [{ kind: 'write', address: BigInt(DATA), length: 4 }]);
    for (const count of [2, 5, 8]) {
      await machine.run({ instructions: 4 });
      assert.equal(target.takeStop()?.kind, 'watchpoint');
      assert.equal(machine.instructions, count);
    }
  });

  test('a run with watchpoints is the same run, string instructions included', async () => {
    // mov edi, DATA; mov ecx, 3000; rep stosb; mov esi, DATA; mov ecx, 3000; rep movsb; jmp to the beginning
    const code = [0xbf, ...u32(DATA), 0xb9, ...u32(3000), 0xf3, 0xaa];
    code.push(0xbe, ...u32(DATA), 0xb9, ...u32(3000), 0xf3, 0xa4, 0xeb, 0x100 - 26);
    const { ask, machine, subject, ended } = await start(code);
    await ask(`Z2,${at(DATA + 100)},1`);
    await ask(`Z3,${at(DATA + 200)},1`);
    const stops: string[] = [];
    for (let i = 0; i < 6; i++) stops.push(`${await ask('c')} ${machine.instructions}`);
    assert.match(stops[0]!, new RegExp(`;watch:${at(DATA + 100)}; 3$`));
    assert.match(stops[1]!, new RegExp(`;rwatch:${at(DATA + 200)}; 6$`));
    const reference = await createMachine({ kernel: tinyKernel([...code]), memory: MEMORY });
    await reference.run({ instructions: machine.instructions });
    assert.equal(machine.describe(), reference.describe());
    subject.stop();
    await ended;
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
    'bc0',
    'bs,',
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
