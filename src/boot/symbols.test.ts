import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { gzipSync } from 'fflate';
import { embeddedConfig } from './embedded-config.ts';
import { readKallsyms } from './kallsyms.ts';
import { annotate, createSymbols, parseSystemMap } from './symbols.ts';

const BASE = 0xffffffff81000000n;

/** A table as scripts/kallsyms.c writes it, whose tokens are the characters themselves. */
function kallsyms(names: readonly string[], since64: boolean): Uint8Array {
  const out: number[] = [];
  const align = (to: number) => {
    while (out.length % to) out.push(0);
  };
  const u32 = (value: number) => out.push(...new Uint8Array(Uint32Array.of(value).buffer));
  const offsets = () => {
    align(8);
    for (const index of names.keys()) u32(-1 - index * 16);
    align(8);
    out.push(...new Uint8Array(BigUint64Array.of(BASE).buffer));
  };
  out.push(...new Uint8Array(512).fill(0x90));
  if (!since64) offsets();
  align(8);
  u32(names.length);
  align(8);
  const markers: number[] = [];
  const start = out.length;
  for (const [index, name] of names.entries()) {
    if (index % 256 === 0) markers.push(out.length - start);
    if (name.length < 0x80) out.push(name.length);
    else out.push((name.length & 0x7f) | 0x80, name.length >> 7);
    for (const character of name) out.push(character.charCodeAt(0));
  }
  align(8);
  for (const marker of markers) u32(marker);
  align(8);
  // What Linux 6.2 put in between: three bytes a name.
  for (const index of names.keys()) out.push(index >> 16, index >> 8, index & 0xff);
  align(8);
  const table = out.length;
  const index: number[] = [];
  for (let token = 0; token < 256; token++) {
    index.push(out.length - table);
    // Bytes below a space stand for longer words, as those of a real table do.
    out.push(...(token < 0x20 ? [...`w${token}x`].map(c => c.charCodeAt(0)) : [token]), 0);
  }
  align(8);
  for (const offset of index) out.push(offset & 0xff, offset >> 8);
  if (since64) offsets();
  out.push(...new Uint8Array(64));
  return Uint8Array.from(out);
}

const NAMES = ['T_text', ...Array.from({ length: 999 }, (_, index) => `tfunction_${index}`), `t${'long_'.repeat(40)}`];

describe('the table that a kernel carries', () => {
  for (const [version, since64] of [
    ['6.3', false],
    ['6.4', true],
  ] as const)
    test(`of Linux ${version} and like it is found and read`, () => {
      const symbols = createSymbols(readKallsyms(kallsyms(NAMES, since64), true));
      assert.equal(symbols.size, NAMES.length);
      assert.equal(symbols.at(BASE), '_text');
      assert.equal(symbols.at(BASE + 16n * 500n + 3n), 'function_499+0x3');
      assert.ok(symbols.has('long_'.repeat(40)));
    });

  test('damaged anywhere gives symbols or none, and never breaks', () => {
    const whole = kallsyms(NAMES.slice(0, 300), false);
    let random = 12345;
    for (let round = 0; round < 200; round++) {
      const bytes = whole.slice(0, round % 4 === 0 ? (whole.length * round) / 200 : undefined);
      for (let change = 0; change < 5; change++) {
        random = (random * 1103515245 + 12345) & 0x7fffffff;
        if (bytes.length > 0) bytes[random % bytes.length] = random >> 16;
      }
      assert.ok(Array.isArray(readKallsyms(bytes, round % 2 === 0)));
    }
  });

  test('is not seen where there is none', () => {
    assert.deepEqual(readKallsyms(new Uint8Array(100_000), true), []);
    const digits = [...'0123456789'].flatMap(digit => [digit.charCodeAt(0), 0]);
    assert.deepEqual(readKallsyms(Uint8Array.from([...digits, ...digits]), true), []);
  });
});

test('System.map is read, and other lines passed over', () => {
  const symbols = parseSystemMap('ffffffff81000000 T _stext\nnonsense\nc1000000 t other\n0000000000000000 D percpu\n');
  assert.equal(symbols.at(0xffffffff81000010n), '_stext+0x10');
  assert.equal(symbols.nameAt(0xc1000001n), 'other');
  assert.equal(symbols.at(0xffffffffa0000000n), undefined, 'too far behind');
});

test('a text with addresses is given names', () => {
  const symbols = createSymbols([{ address: BASE, name: '_text' }]);
  assert.equal(
    annotate(' rip ffffffff81000004  rax 0000000000000001 12345678', symbols),
    ' rip ffffffff81000004 <_text+0x4>  rax 0000000000000001 12345678',
  );
});

describe('the embedded configuration', () => {
  const encode = (text: string) => new TextEncoder().encode(text);
  const image = (inside: Uint8Array) =>
    Uint8Array.from([...new Uint8Array(100), ...encode('IKCFG_ST'), ...inside, ...encode('IKCFG_ED'), 0]);

  test('is read', async () => {
    const packed = gzipSync(encode('CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C="text"\n'));
    const config = await embeddedConfig(image(packed));
    assert.deepEqual(
      [...config!],
      [
        ['CONFIG_A', 'y'],
        ['CONFIG_C', '"text"'],
      ],
    );
  });

  test('is none where the marks or what is between them are not', async () => {
    assert.equal(await embeddedConfig(new Uint8Array(100)), undefined);
    assert.equal(await embeddedConfig(encode('IKCFG_ST')), undefined);
    assert.equal(await embeddedConfig(image(encode('not packed at all'))), undefined);
  });
});
