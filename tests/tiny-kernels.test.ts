/**
 * Whole machines with kernels of a few bytes, through the public API: every way a run can end, devices of the embedder's,
 * and machines beside each other. The kernels start at the PVH entry: 32-bit, no paging, no IDT.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import {
  type Console,
  createMachine,
  type Device,
  type Exit,
  ImageError,
  type Machine,
  type Slot,
} from '../src/index.ts';

const EXIT_PORT = 0x501;
/** mov dx, EXIT_PORT; out dx, al; hlt */
const OUT_AL_TO_EXIT_PORT = [0x66, 0xba, 0x01, 0x05, 0xee, 0xf4];
/** jmp to itself */
const FOR_EVER = [0xeb, 0xfe];

function exitPort(slot: Slot): Device {
  slot.ports('exit port', EXIT_PORT, 1, {
    read: () => 0x2a,
    write: (_offset, _width, value) => slot.request('power-off', value),
  });
  return { name: 'exit port', reset() {} };
}

function recorder(): { console: Console; text(): string } {
  let text = '';
  return { text: () => text, console: { write: data => void (text += new TextDecoder().decode(data)), onInput() {} } };
}

async function machineOf(
  code: readonly number[],
  options: { hypervisor?: string; console?: Console } = {},
): Promise<Machine> {
  return createMachine({ kernel: tinyKernel(code), memory: 16 << 20, devices: slot => [exitPort(slot)], ...options });
}

async function endOf(code: readonly number[], hypervisor = 'bare'): Promise<Exit> {
  return (await machineOf(code, { hypervisor })).run();
}

const ENDINGS: readonly { name: string; code: number[]; exit: Exit['kind'] }[] = [
  { name: 'a halt with interrupts off', code: [0xfa, 0xf4], exit: 'dead-halt' },
  { name: 'an undefined instruction without an IDT', code: [0x0f, 0x0b], exit: 'triple-fault' },
  {
    name: 'an unknown MSR without an IDT',
    code: [0xb9, 0x00, 0x00, 0xad, 0xde, 0x0f, 0x32, 0xf4],
    exit: 'triple-fault',
  },
  { name: 'a reset by port 0xcf9', code: [0x66, 0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee, ...FOR_EVER], exit: 'reset' },
  { name: 'a reset by the keyboard controller', code: [0xb0, 0xfe, 0xe6, 0x64, ...FOR_EVER], exit: 'reset' },
];

for (const hypervisor of ['bare', 'kvm', 'vmware', 'hyperv'])
  describe(`${hypervisor}`, () => {
    for (const { name, code, exit } of ENDINGS)
      test(`${name} ends the run`, async () => {
        const ending = await endOf(code, hypervisor);
        assert.equal(ending.kind, exit);
        if ('reason' in ending) assert.ok(ending.reason.length > 5, 'says why');
      });

    test("a device of the embedder's ends the run with a status", async () => {
      assert.deepEqual(await endOf([0xb0, 0x05, ...OUT_AL_TO_EXIT_PORT], hypervisor), { kind: 'power-off', status: 5 });
      // mov dx, EXIT_PORT; in al, dx
      assert.deepEqual(await endOf([0x66, 0xba, 0x01, 0x05, 0xec, ...OUT_AL_TO_EXIT_PORT], hypervisor), {
        kind: 'power-off',
        status: 0x2a,
      });
    });

    test('prints on the serial port', async () => {
      const { console, text } = recorder();
      const print = [...'hi\n'].flatMap(letter => [0xb0, letter.charCodeAt(0), 0xee]);
      const machine = await machineOf([0x66, 0xba, 0xf8, 0x03, ...print, 0xfa, 0xf4], { hypervisor, console });
      await machine.run();
      assert.equal(text(), 'hi\n');
    });
  });

describe('what a guest asks its hypervisor', () => {
  /** mov eax, 0x40000000; cpuid; mov eax, ebx */
  const signature = [0xb8, 0x00, 0x00, 0x00, 0x40, 0x0f, 0xa2, 0x89, 0xd8, ...OUT_AL_TO_EXIT_PORT];
  /** mov eax, 9999; vmcall; cmp eax, -1000; sete al */
  const unknownCall = [
    0xb8,
    0x0f,
    0x27,
    0,
    0,
    0x0f,
    0x01,
    0xc1,
    0x3d,
    0x18,
    0xfc,
    0xff,
    0xff,
    0x0f,
    0x94,
    0xc0,
    ...OUT_AL_TO_EXIT_PORT,
  ];

  test('kvm answers', async () => {
    assert.deepEqual(await endOf(signature, 'kvm'), { kind: 'power-off', status: 'K'.charCodeAt(0) });
    assert.deepEqual(await endOf(unknownCall, 'kvm'), { kind: 'power-off', status: 1 });
  });

  const dword = (value: number) => [0, 8, 16, 24].map(shift => (value >>> shift) & 0xff);
  const mov = { eax: 0xb8, ecx: 0xb9, edx: 0xba, ebx: 0xbb } as const;
  const load = (registers: Partial<Record<keyof typeof mov, number>>) =>
    Object.entries(registers).flatMap(([name, value]) => [mov[name as keyof typeof mov], ...dword(value)]);
  const IN_EAX_DX = [0xed];
  const VMMCALL = [0x0f, 0x01, 0xd9];

  test('vmware answers by its port and by VMMCALL', async () => {
    const question = load({ eax: 0x564d5868, ebx: 0xffffffff, ecx: 10, edx: 0x5658 });
    /** lea ecx, [eax + ebx]; mov eax, ecx: the version and the magic number in one */
    const both = [0x8d, 0x0c, 0x18, 0x89, 0xc8];
    for (const way of [IN_EAX_DX, VMMCALL])
      assert.deepEqual(await endOf([...question, ...way, ...both, ...OUT_AL_TO_EXIT_PORT], 'vmware'), {
        kind: 'power-off',
        status: 0x6e, // 6 + 0x68
      });
    assert.equal((await endOf([...question.with(1, 0), ...VMMCALL], 'vmware')).kind, 'triple-fault', 'not the magic');
  });

  const wrmsr = (index: number, low: number, high = 0) => [
    ...load({ ecx: index, eax: low, edx: high }),
    ...[0x0f, 0x30],
  ];

  test("hyperv answers a 32-bit caller through the page it has put into the guest's memory", async () => {
    const PAGE = 0x5000;
    /** mov ebx, PAGE; call ebx */
    const call = [...load({ ebx: PAGE }), 0xff, 0xd3];
    const code = [
      ...[0xbc, ...dword(0x4000)], // mov esp
      ...wrmsr(0x40000000, 1),
      ...wrmsr(0x40000001, PAGE | 1),
      ...load({ eax: 0x1234, edx: 0, ecx: 0 }),
      ...call,
      ...OUT_AL_TO_EXIT_PORT,
    ];
    assert.deepEqual(await endOf(code, 'hyperv'), { kind: 'power-off', status: 2 });
  });

  test('hyperv tells what a guest that crashes says of it', async () => {
    const code = [...wrmsr(0x40000102, 0xcafe, 1), ...wrmsr(0x40000105, 0, 1 << 31), ...FOR_EVER];
    assert.deepEqual(await endOf(code, 'hyperv'), {
      kind: 'panic',
      reason: '(crash registers: P0 0x0, P1 0x0, P2 0x10000cafe, P3 0x0, P4 0x0)',
    });
  });

  test("hyperv's timer wakes a guest that has halted", async () => {
    /** Where the code for vector 0x30 is put; its IDT entry is at 0x2180. The PVH entry has no GDT: here is one, too. */
    const handler = 0x3000;
    const store = (address: number, value: number) => [0xc7, 0x05, ...dword(address), ...dword(value)];
    const code = [
      ...[0xbc, ...dword(0x8000)], // mov esp
      ...store(handler, 0xba6642b0), // mov al, 0x42; mov dx, …
      ...store(handler + 4, 0xf4ee0501), // … EXIT_PORT; out dx, al; hlt
      ...store(0x1808, 0x0000ffff), // selector 8: flat 32-bit code
      ...store(0x180c, 0x00cf9b00),
      ...store(0x7000, 0x1800000f), // the GDT's limit and base
      ...[0x0f, 0x01, 0x15, ...dword(0x7000)], // lgdt
      ...store(0x2180, 0x00080000 | handler),
      ...store(0x2184, 0x00008e00), // present, 32-bit interrupt gate
      ...store(0x7000, 0x200007ff), // the IDT's
      ...[0x0f, 0x01, 0x1d, ...dword(0x7000)], // lidt
      ...wrmsr(0x400000b0, 0x1309), // direct, vector 0x30, auto-enable, enabled
      ...wrmsr(0x400000b1, 20_000),
      ...[0xfb, 0xf4], // sti; hlt
      ...FOR_EVER,
    ];
    assert.deepEqual(await endOf(code, 'hyperv'), { kind: 'power-off', status: 0x42 });
  });

  test('bare hardware has no hypervisor', async () => {
    assert.notDeepEqual(await endOf(signature, 'bare'), { kind: 'power-off', status: 'K'.charCodeAt(0) });
    assert.equal((await endOf(unknownCall, 'bare')).kind, 'triple-fault');
  });
});

test('a machine can be stopped and goes on where it was', async () => {
  const machine = await machineOf(FOR_EVER);
  setTimeout(() => machine.stop(), 30);
  assert.deepEqual(await machine.run(), { kind: 'stopped' });
  const { instructions } = machine.statistics;
  assert.ok(instructions > 1000, `${instructions} instructions`);
  setTimeout(() => machine.stop(), 30);
  assert.deepEqual(await machine.run(), { kind: 'stopped' });
  assert.ok(machine.statistics.instructions > instructions);
  assert.match(machine.describe(), /rip/i);
});

test('two machines in one process do not disturb each other', async () => {
  const endless = await machineOf(FOR_EVER);
  const running = endless.run();
  const others = await Promise.all([1, 2, 3].map(status => endOf([0xb0, status, ...OUT_AL_TO_EXIT_PORT])));
  assert.deepEqual(
    others.map(exit => (exit.kind === 'power-off' ? exit.status : exit.kind)),
    [1, 2, 3],
  );
  endless.stop();
  assert.deepEqual(await running, { kind: 'stopped' });
});

test('a run on the virtual clock repeats exactly', async () => {
  /** rdtsc, sixteen times around a loop, its low byte to the serial port. */
  const code = [
    0xb9, 16, 0, 0, 0, 0x66, 0xba, 0xf8, 0x03, 0x0f, 0x31, 0x66, 0xba, 0xf8, 0x03, 0xee, 0x49, 0x75, 0xf6, 0xfa, 0xf4,
  ];
  const bytes: string[] = [];
  const counts: number[] = [];
  for (let attempt = 0; attempt < 2; attempt++) {
    const { console, text } = recorder();
    const machine = await machineOf(code, { console });
    assert.equal((await machine.run()).kind, 'dead-halt');
    bytes.push(text());
    counts.push(machine.statistics.instructions);
  }
  assert.equal(bytes[0], bytes[1]);
  assert.equal(counts[0], counts[1]);
});

test('misuse is an error, and an image that is none an ImageError', async () => {
  await assert.rejects(createMachine({ kernel: tinyKernel([0xf4]), memory: 4097 }));
  await assert.rejects(createMachine({ kernel: tinyKernel([0xf4]), hypervisor: 'acme' }), /acme/);
  await assert.rejects(createMachine({ kernel: Uint8Array.of(0xff, 0xd8, 0xff, 0xe0) }), ImageError);
  await assert.rejects(createMachine({ kernel: tinyKernel([0xf4]), memory: 1 << 20 }), ImageError);
});
