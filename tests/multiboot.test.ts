/**
 * A multiboot kernel of a hundred bytes, from the command line: it prints its command line, its modules' words and contents
 * and the types of the memory map's ranges, and powers off. Once as an ELF file, once by the addresses in its header.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { makeElf, u32 } from '../src/boot/testing.ts';
import { polyvisor } from './command.ts';

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-multiboot-'));
after(() => rmSync(folder, { recursive: true }));

const file = (name: string, content: Uint8Array): string => {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
};

const CODE = [
  ...[0xbc, 0x00, 0x00, 0x20, 0x00], //       mov esp, 0x200000
  ...[0x89, 0xde], //                         mov esi, ebx: the information
  ...[0xba, 0xf8, 0x03, 0x00, 0x00], //       mov edx, COM1
  ...[0x8b, 0x7e, 0x10], //                   mov edi, [esi + 16]: the command line
  ...[0xe8, 0x48, 0x00, 0x00, 0x00], //       call print
  ...[0x8b, 0x4e, 0x14], //                   mov ecx, [esi + 20]: how many modules
  ...[0x8b, 0x5e, 0x18], //                   mov ebx, [esi + 24]: where they are listed
  0x51, //                            module: push ecx
  ...[0x8b, 0x7b, 0x08], //                   mov edi, [ebx + 8]: its words
  ...[0xe8, 0x39, 0x00, 0x00, 0x00], //       call print
  ...[0x8b, 0x3b], //                         mov edi, [ebx]: its start
  ...[0x8a, 0x07], //                   byte: mov al, [edi]
  ...[0xee, 0x47], //                         out dx, al; inc edi
  ...[0x3b, 0x7b, 0x04], //                   cmp edi, [ebx + 4]: its end
  ...[0x72, 0xf7], //                         jb byte
  ...[0xb0, 0x0a, 0xee], //                   mov al, newline; out dx, al
  ...[0x83, 0xc3, 0x10], //                   add ebx, 16
  ...[0x59, 0xe2, 0xe3], //                   pop ecx; loop module
  ...[0x8b, 0x5e, 0x30], //                   mov ebx, [esi + 48]: the memory map
  ...[0x8b, 0x4e, 0x2c], //                   mov ecx, [esi + 44]: its length
  ...[0x01, 0xd9], //                         add ecx, ebx
  ...[0x8a, 0x43, 0x14], //            range: mov al, [ebx + 20]: its type
  ...[0x04, 0x30, 0xee], //                   add al, '0'; out dx, al
  ...[0x03, 0x1b], //                         add ebx, [ebx]
  ...[0x83, 0xc3, 0x04], //                   add ebx, 4
  ...[0x39, 0xcb, 0x72, 0xf1], //             cmp ebx, ecx; jb range
  ...[0xb0, 0x0a, 0xee], //                   mov al, newline; out dx, al
  ...[0x66, 0xba, 0x04, 0x06], //             mov dx, PM1_CONTROL
  ...[0x66, 0xb8, 0x00, 0x34], //             mov ax, SLP_EN and S5
  ...[0x66, 0xef, 0xf4], //                   out dx, ax; hlt
  ...[0x8a, 0x07, 0x47], //            print: mov al, [edi]; inc edi
  ...[0x84, 0xc0, 0x74, 0x03], //             test al, al; jz end
  ...[0xee, 0xeb, 0xf6], //                   out dx, al; jmp print
  ...[0xb0, 0x0a, 0xee, 0xc3], //        end: mov al, newline; out dx, al; ret
];

const MAGIC = 0x1badb002;
/** Where it is loaded: at the usual place, and where the boot data of others are. How far into that its code begins. */
const BASE = 1 << 20;
const LOW_BASE = 0x1000;
const ENTRY = 32;

/** The header with its address fields, which an ELF kernel does not need, and the code. */
function image(flags: number, base = BASE): Uint8Array {
  const checksum = -(MAGIC + flags) >>> 0;
  const fields = [MAGIC, flags, checksum, base, base, 0, 0, base + ENTRY];
  return Uint8Array.from([...fields.flatMap(value => [...u32(value)]), ...CODE]);
}

describe('multiboot', () => {
  const kernels = {
    ELF: makeElf({ class: 32, entry: BASE + ENTRY, segments: [{ address: BASE, data: image(3) }] }),
    flat: image(0x10003),
    'ELF, low': makeElf({ class: 32, entry: LOW_BASE + ENTRY, segments: [{ address: LOW_BASE, data: image(3) }] }),
    'flat, low': image(0x10003, LOW_BASE),
  };
  for (const [name, kernel] of Object.entries(kernels))
    test(`a kernel (${name}) finds its command line, modules and memory map`, async () => {
      const path = file(name, kernel);
      const module = file('first.mod', new TextEncoder().encode('[first]'));
      const words = ['run', '--kernel', path, '--initrd', file('initrd', new TextEncoder().encode('[initrd]'))];
      const modules = ['--module', `${module} one two`, '--module', module];
      const result = await polyvisor([...words, ...modules, '--append', 'quiet', '--memory', '16M', '--timeout', '60']);
      assert.equal(result.stderr, '');
      assert.equal(result.status, 0);
      assert.deepEqual(result.stdout.split(/\r?\n/).slice(0, 8), [
        'console=ttyS0 quiet',
        '',
        '[initrd]',
        `${module} one two`,
        '[first]',
        module,
        '[first]',
        '1221',
      ]);
    });

  test('what is not multiboot takes no modules', async () => {
    const module = file('second.mod', Uint8Array.of(1));
    const kernel = file('plain', makeElf({ entry: BASE, segments: [{ address: BASE, data: Uint8Array.of(0xf4) }] }));
    const result = await polyvisor(['run', '--kernel', kernel, '--module', module]);
    assert.match(result.stderr, /takes no modules/);
    assert.equal(result.status, 65);
  });
});
