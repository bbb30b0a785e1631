/** Hypervisors from files, as a user has them: the toy both ways, and files that do what they must not. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { bootFixture, type Fixture } from '../src/conformance/fixture.ts';
import { createRandom } from '../src/conformance/random.ts';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import { loadHypervisor } from '../src/host/node/load-hypervisor.ts';
import type { MatrixReport } from '../src/matrix/result.ts';
import type { Body } from '../src/wasm/module.ts';
import { polyvisor, root } from './command.ts';
import { manifest, tinyHypervisor } from './tiny-wasm.ts';

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-plugins-'));
after(() => rmSync(folder, { recursive: true }));

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const acme = {
  ts: join(root, 'examples/acme/acme.ts'),
  js: fileURLToPath(new URL('../examples/acme/acme.js', import.meta.url)),
  wasm: join(folder, 'acme.wasm'),
};

/** `npm run acme`, but for where the result goes. */
function buildAcme(): void {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: { acme: string } };
  const [compiler, ...words] = scripts.acme.split(' ');
  assert.equal(compiler, 'asc');
  words[words.indexOf('--outFile') + 1] = acme.wasm;
  execFileSync(process.execPath, [join(root, 'node_modules/assemblyscript/bin/asc.js'), ...words], { cwd: root });
}

describe('the toy, as a module and as a binary', () => {
  before(buildAcme);

  for (const kind of ['js', 'wasm'] as const)
    test(`.${kind}: Linux boots, and runs a command`, { timeout: 300_000 }, async () => {
      const json = join(folder, `${kind}.json`);
      const words = ['run', '-H', acme[kind], '--exec', 'uname -s', '--json', json, '--timeout', '240'];
      const result = await polyvisor(words, { limit: 280 });
      assert.equal(result.stderr, '');
      assert.equal(result.stdout, 'Linux\n');
      assert.equal(result.status, 0);
      const summary = JSON.parse(readFileSync(json, 'utf8')) as Record<string, never>;
      assert.equal(summary.hypervisor, 'acme');
      assert.ok(summary.operations['cpu.cpuid'] > 10);
    });

  test('are columns of the matrix, beside a file that loops and one that is none', { timeout: 400_000 }, async () => {
    const loop = file(
      'loop(.js',
      `import { bareTable, derive } from 'polyvisor';
       const names = { name: 'loop', title: 'never answers' };
       export default { ...names, make: () => derive(bareTable, { ...names, cpu: { cpuid() { for (;;); } } }) };`,
    );
    const none = file('none.js', 'export default 5;');
    const script = file('script.sh', 'uname -s');
    const json = join(folder, 'matrix.json');
    const files = [acme.js, acme.wasm, loop, none];
    const words = ['matrix', '-H', files.join(), '--test', script, '--json', json, '--clock', 'virtual'];
    const { status, stderr } = await polyvisor(words, { limit: 380 });
    assert.equal(status, 1, stderr);
    const { cells } = JSON.parse(readFileSync(json, 'utf8')) as MatrixReport;
    assert.deepEqual(
      cells.map(({ hypervisor, verdict }) => [hypervisor, verdict]),
      [
        ['acme.js', 'passed'],
        ['acme.wasm', 'passed'],
        ['loop(.js', 'died'],
        ['none.js', 'unusable'],
      ],
    );
    assert.match(cells[2]!.reason, /loop\(\.js: cpu\.cpuid: has not returned for 5 seconds/);
    assert.match(cells[3]!.reason, /none\.js: its default export is no hypervisor/);
    const [module, binary] = cells;
    assert.ok(module!.counts.operations['cpu.cpuid']! > 10);
    assert.equal(module!.total.instructions, binary!.total.instructions, 'both are the same hypervisor');
  });

  for (const kind of ['ts', 'js', 'wasm'] as const)
    test(`.${kind}: conforms`, async () => {
      const json = join(folder, 'conform.json');
      const { status, stdout, stderr } = await polyvisor(['conform', acme[kind], '--json', json]);
      assert.equal(status, 0, stdout + stderr);
      assert.match(stdout, /^acme {2}Acme's/);
      assert.match(stdout, /^ {2}ok {4}registers take hostile values$/m);
      const { checks, failed } = JSON.parse(readFileSync(json, 'utf8')) as { checks: object[]; failed: number };
      assert.equal(failed, 0);
      assert.ok(checks.length >= 15);
    });

  test('both do the same, whatever the guest does', async () => {
    const [first, second] = [await fixtureOf(acme.js), await fixtureOf(acme.wasm)];
    const random = createRandom(0x61636d65n);
    const edges = [0n, 1n, 2n, 8n, 256n, 257n, 0x3000n, 0x3001n, 2n ** 24n - 24n, 2n ** 24n, 2n ** 63n, 2n ** 64n - 1n];
    const value = () => (random.below(3) === 0 ? random.next64() : random.of(edges));
    for (let round = 0; round < 3000; round++) {
      const [leaf, registers, cpl] = [
        random.of([0, 1, 2, 0x40000000, 0x40000001, 0x40000002]),
        [value(), value(), value()],
        random.below(4) ? 0 : 3,
      ];
      const answers = [first, second].map(fixture => act(fixture, leaf, registers, cpl, BigInt(round)));
      assert.deepEqual(answers[0], answers[1]);
    }
    assert.ok(first.cpu.log.lines.length > 0, 'lines were logged');
    assert.deepEqual(Buffer.compare(first.cpu.memory.bytes, second.cpu.memory.bytes), 0);
    assert.deepEqual([...first.cpu.kills, ...second.cpu.kills], []);
  });
});

const fixtureOf = async (path: string) => bootFixture(await loadHypervisor(path));

/** A leaf, a hypercall and the register, and what came of them. */
function act(
  { table, cpu }: Fixture,
  leaf: number,
  registers: readonly bigint[],
  cpl: number,
  round: bigint,
): unknown[] {
  cpu.cpl = cpl;
  cpu.clock.advance(12_345);
  for (const [index, name] of (['rax', 'rbx', 'rcx'] as const).entries()) cpu.set(name, registers[index]);
  const { cpuid, hypercall } = table.cpu;
  assert.ok(typeof cpuid === 'function' && typeof hypercall === 'function');
  const found = cpuid(cpu, leaf, 0, () => ({ eax: 1, ebx: 2, ecx: 3, edx: 4 }));
  hypercall(cpu);
  const [msr] = Object.values(table.cpu.msrs);
  const written = msr.write!(
    cpu,
    (registers[1] & ~7n & (round % 2n ? 0xffffffn : 2n ** 64n - 1n)) | (registers[2] & 1n),
  );
  return [found, cpu.get('rax'), written, msr.read!(cpu)];
}

/** 32-bit code at the PVH entry: CPUID 0x40000000, then VMMCALL, then it halts for ever. */
const kernel = file('kernel', tinyKernel([0xb8, 0, 0, 0, 0x40, 0x0f, 0xa2, 0x0f, 0x01, 0xd9, 0xfa, 0xf4]));

/** A module that answers VMMCALL with `code`. */
const module = (code: string) => `
import { bareTable, derive } from 'polyvisor';
const names = { name: 'bad', title: 'a hypervisor of a test' };
export default { ...names, make: context => derive(bareTable, { ...names, cpu: { hypercall(cpu) { ${code}\nreturn true; } } }) };
`;

/** A module whose boot.load answers `value`. */
const loading = (value: string) => `
import { bareTable, derive } from 'polyvisor';
const names = { name: 'bad', title: 'a hypervisor of a test' };
export default { ...names, make: () => derive(bareTable, { ...names, boot: { load: () => ${value} } }) };
`;

/** A binary that does. */
const binary = (body: (body: Body) => void) =>
  tinyHypervisor({
    manifest: manifest({ operations: { 'cpu.hypercall': 'function' } }),
    exports: {
      cpu_hypercall(code) {
        body(code);
        code.i32(1);
      },
    },
  });

function forEver(body: Body): void {
  const label = body.loop();
  body.br(label);
  body.end();
}

const BAD: readonly { name: string; content: string | Uint8Array; words?: string[]; status: number; says: RegExp }[] = [
  // What is known before the guest starts.
  { name: 'syntax.js', content: 'export default {', status: 65, says: /syntax\.js: cannot be loaded: syntax error/ },
  { name: 'throws.js', content: "throw new Error('no');", status: 65, says: /throws\.js: cannot be loaded: no$/m },
  { name: 'import.js', content: "import 'nowhere';", status: 65, says: /import\.js: cannot be loaded: .*nowhere/ },
  { name: 'empty.js', content: '', status: 65, says: /empty\.js: its default export is no hypervisor/ },
  { name: 'loop.js', content: 'for (;;);', status: 65, says: /loop\.js: loading: has not returned for 5 seconds/ },
  { name: 'exit.mjs', content: 'process.exit(0);', status: 65, says: /exit\.mjs: has ended its thread/ },
  {
    name: 'make.js',
    content: "export default { name: 'bad', title: 'a hypervisor of a test', make() { return {}; } };",
    status: 65,
    says: /make\.js: make: its name is not/,
  },
  { name: 'text.wasm', content: 'hello', status: 65, says: /text\.wasm: is not a WebAssembly file/ },
  {
    name: 'version.wasm',
    content: tinyHypervisor({ manifest: manifest({ abi: '7.1' }) }),
    status: 65,
    says: /version\.wasm: was made for version 7\.1 of the binary interface/,
  },
  { name: 'acme.so', content: 'ELF', status: 65, says: /acme\.so: a hypervisor is a name .* or a file: \.js/ },
  {
    name: 'bare-object.js',
    content: 'throw Object.create(null);',
    status: 65,
    says: /bare-object\.js: cannot be loaded: threw something that cannot be shown$/m,
  },
  {
    name: 'entry.js',
    content: loading('({ registers: { rip: 5 }, segments: {} })'),
    status: 65,
    says: /entry\.js: boot\.load: answered rip that is no unsigned 64-bit number/,
  },
  {
    name: 'segment.js',
    content: loading('({ registers: {}, segments: { cs: { selector: "8" } } })'),
    status: 65,
    says: /boot\.load: answered cs that is no segment/,
  },
  {
    name: 'nothing.js',
    content: loading('undefined'),
    status: 65,
    says: /nothing\.js: boot\.load: answered no object where an entry state is wanted/,
  },
  {
    name: 'post.mjs',
    content:
      "import { parentPort } from 'node:worker_threads'; parentPort.postMessage(null); await new Promise(() => {});",
    status: 65,
    says: /post\.mjs: outside of its ops: has sent a message that is none of ours/,
  },
  // What the guest meets.
  ...[
    'Object.create(null)',
    'new Proxy(new Error(), { getPrototypeOf() { throw 1; }, get() { throw 2; } })',
    '{ toString() { throw 1; } }',
    '{ get message() { throw 1; } }',
    'Object.assign(new Error(), { message: { toString: 5 } })',
    'undefined',
    'Symbol()',
  ].map((thrown, index) => ({
    name: `throws-${index}.js`,
    content: module(`throw ${thrown};`),
    status: 122,
    says: new RegExp(`guest was ended: .*throws-${index}\\.js: cpu\\.hypercall: (threw|\\[object)`),
  })),
  ...[
    'null',
    '5',
    '{ kind: "exit" }',
    '{ kind: "console", data: 5 }',
    '{ kind: "__proto__" }',
    '{ kind: "trace", crossings: [null] }',
  ].map((message, index) => ({
    name: `posts-${index}.js`,
    content: `import { parentPort } from 'node:worker_threads';${module(`parentPort.postMessage(${message})`)}`,
    status: 122,
    says: new RegExp(
      `guest was ended: .*posts-${index}\\.js: outside of its ops: has sent a message that is none of ours`,
    ),
  })),
  {
    name: 'op.js',
    content: module("throw new Error('too\\nbad')"),
    status: 122,
    says: /guest was ended: .*op\.js: cpu\.hypercall: too bad$/m,
  },
  {
    name: 'op-loop.js',
    content: module('for (;;);'),
    status: 122,
    says: /guest was ended: .*op-loop\.js: cpu\.hypercall: has not returned for 5 seconds/,
  },
  {
    name: 'timer.js',
    content: `import { bareTable, derive } from 'polyvisor';
      const names = { name: 'bad', title: 'a hypervisor of a test' };
      export default { ...names, make({ clock }) {
        const timer = clock.timer('mine', () => timer.at(0));
        return derive(bareTable, { ...names, cpu: { hypercall: () => (timer.at(0), true) } });
      } };`,
    words: ['--clock', 'virtual'],
    status: 122,
    says: /guest was ended: .*timer\.js: .*timer mine: is always due, and time stands still at \d+ ns/,
  },
  {
    name: 'later.js',
    content: module("setImmediate(() => { throw new Error('later') })"),
    status: 122,
    says: /guest was ended: .*later\.js: outside of its ops: later/,
  },
  {
    name: 'huge.js',
    content: module('const all = []; for (;;) all.push([1.5, {}])'),
    status: 122,
    says: /guest was ended: .*huge\.js: .*(memory|has not returned)/,
  },
  {
    name: 'trap.wasm',
    content: binary(body => body.unreachable()),
    status: 122,
    says: /trap\.wasm: cpu\.hypercall: unreach/,
  },
  {
    name: 'op-loop.wasm',
    content: binary(forEver),
    status: 122,
    says: /guest was ended: .*op-loop\.wasm: cpu\.hypercall: has not returned for 5 seconds/,
  },
];

describe('a file that does what it must not: one line says which file, op and why', { concurrency: 2 }, () => {
  for (const { name, content, words: more = [], status, says } of BAD)
    test(name, { timeout: 240_000 }, async () => {
      const path = file(name, content);
      const words = ['run', '--kernel', kernel, '--timeout', '120', '--hypervisor', path, ...more];
      const result = await polyvisor(words, { limit: 200 });
      const lines = result.stderr.split('\n').filter(line => line.startsWith('polyvisor: '));
      assert.equal(lines.length, 1, result.stderr);
      assert.match(lines[0], says);
      assert.equal(result.status, status);
      assert.equal(result.stdout, '');
      assert.doesNotMatch(result.stderr, /^\s+at .*\.[jt]s/m, 'no stack trace');
    });

  test('no such file', async () => {
    const result = await polyvisor(['run', '-H', './nowhere.wasm', '--kernel', kernel]);
    assert.equal(result.stderr, 'polyvisor: ./nowhere.wasm: no such file\n');
    assert.equal(result.status, 66);
  });
});

describe('polyvisor conform', () => {
  test('says which check failed, and goes on after one that never ends', { timeout: 240_000 }, async () => {
    const hangs = tinyHypervisor({
      manifest: manifest({ msrs: [{ index: 5, name: 'MSR_TINY', access: 'write' }] }),
      exports: {
        cpu_msr_write(body) {
          const label = body.loop();
          body.get(2);
          body.i64(-1n);
          body.op('i64.eq');
          body.brIf(label);
          body.end();
          body.i32(1);
        },
      },
    });
    const result = await polyvisor(['conform', file('hangs.wasm', hangs)]);
    assert.equal(result.status, 1, result.stderr);
    const failed = result.stdout.match(/^ {2}FAIL .*$/gm);
    assert.deepEqual(failed, [
      '  FAIL  registers take hostile values: write of MSR_TINY has not returned for 5 seconds',
    ]);
    assert.match(result.stdout, /^ {2}ok {4}a trace changes no answer$/m);
    assert.match(result.stdout, /^\d+ checks: \d+ passed, \d+ skipped, 1 failed$/m);
  });

  const compiler = ['clang', 'wasm-ld'].every(program => spawnSync(program, ['--version']).status === 0);
  const skip = compiler ? false : 'clang and lld are not installed';
  test("the guide's hypervisor in C compiles without a word, and conforms", { skip }, async () => {
    const guide = readFileSync(join(root, 'docs/write-a-hypervisor.md'), 'utf8');
    const source = file('mine.c', /```c\n(.*?)```/s.exec(guide)![1]!);
    const command = /^clang .* -o mine\.wasm mine\.c$/m.exec(guide)![0];
    const [program, ...words] = command.replace('-I docs', `-I ${join(root, 'docs')}`).split(' ');
    const wasm = join(folder, 'mine.wasm');
    const places = words.map(word => (word === 'mine.c' ? source : word === 'mine.wasm' ? wasm : word));
    const compiled = spawnSync(program!, places, { encoding: 'utf8' });
    assert.deepEqual([compiled.status, compiled.stderr], [0, '']);
    const { status, stdout } = await polyvisor(['conform', wasm]);
    assert.equal(status, 0, stdout);
    assert.match(stdout, /^ {2}ok {4}an unknown hypercall is refused$/m);
  });

  test('a trap is no refusal', async () => {
    const result = await polyvisor([
      'conform',
      file(
        'traps.wasm',
        binary(body => body.unreachable()),
      ),
    ]);
    assert.equal(result.status, 1);
    assert.match(
      result.stdout,
      /^ {2}FAIL {2}an unknown hypercall is refused: .*traps\.wasm: cpu\.hypercall: unreachable$/m,
    );
  });

  test('one of the list, and none', async () => {
    const bare = await polyvisor(['conform', 'bare']);
    assert.equal(bare.status, 0, bare.stdout + bare.stderr);
    const none = await polyvisor(['conform', 'bear']);
    assert.match(none.stderr, /^polyvisor: unknown hypervisor "bear": did you mean bare\?/);
    assert.equal(none.status, 64);
    const text = await polyvisor(['conform', file('no.wasm', 'hello')]);
    assert.match(text.stderr, /^polyvisor: .*no\.wasm: is not a WebAssembly file\n$/);
    assert.equal(text.status, 65);
  });
});
