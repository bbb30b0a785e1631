/**
 * The package as npm makes it: what is in it, and what one has who installs it into an empty folder, without a compiler and
 * without lib.dom. Dependencies come from this clone, so that no registry is asked.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import { root } from './command.ts';

const LIMIT = 240_000;
const folder = mkdtempSync(join(tmpdir(), 'polyvisor-package-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a program in the folder. @throws Error with all it said where it ends with another status than 0 */
async function run(program: string, ...words: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(program, words, { cwd: folder, timeout: LIMIT, maxBuffer: 1 << 24 });
  return stdout;
}

const polyvisor = (...words: string[]) => run('npx', '--offline', 'polyvisor', ...words);
const read = (name: string) => readFileSync(join(root, name), 'utf8');

let files: string[] = [];

before(
  async () => {
    const [packed] = JSON.parse(await run('npm', 'pack', root, '--json', '--loglevel=error')) as [
      { filename: string; files: { path: string }[] },
    ];
    files = packed.files.map(({ path }) => path);
    const { dependencies } = JSON.parse(read('package.json')) as { dependencies: Record<string, string> };
    const ours = Object.keys(dependencies).map(name => join(root, 'node_modules', name));
    const quietly = ['--offline', '--install-links', '--no-audit', '--no-fund', '--loglevel=error'];
    await run('npm', 'install', ...quietly, ...ours, `./${packed.filename}`);
  },
  { timeout: LIMIT },
);

test('it holds all and only what is needed', () => {
  const wanted = [
    /^(README|ARCHITECTURE|CHANGELOG|SECURITY)\.md$|^LICENSE$|^package\.json$/,
    /^bin\/(polyvisor|guest-node|launch\.cjs|set-up\.cjs)$/,
    /^dist\/bundle\/[\w-]+\.c?js$/,
    /^dist\/web\/(index\.html|_headers|assets\/[\w-]+\.(js|css))$/,
    /^dist\/src\/(?!cli\/)[\w./-]+(\.js|\.d\.ts)$/,
    /^docs\/[\w.-]+$/,
    /^kit\/[\w./-]+$/,
    /^examples\/[\w./-]+$/,
  ];
  assert.deepEqual(
    files.filter(file => !wanted.some(pattern => pattern.test(file))),
    [],
  );
  assert.deepEqual(
    files.filter(file => /test|\.map$/.test(file) && !/^dist\/src\/matrix\/test-|^(docs|kit)\//.test(file)),
    [],
  );
  for (const name of ['examples/acme/acme', 'examples/exit-port', 'examples/talk-to-a-guest'])
    assert.ok(files.includes(`${name}.js`) && files.includes(`${name}.ts`), name);
  assert.ok(files.includes('examples/acme-binary/acme.wasm'));
});

describe('installed into an empty folder', { timeout: LIMIT }, () => {
  const examples = 'node_modules/polyvisor/examples';
  /** Writes "ok\n" to the first serial port, and halts for ever. */
  const letters = [...'ok\n'].flatMap(letter => [0xb0, letter.charCodeAt(0), 0xee]);
  const kernel = tinyKernel([0x66, 0xba, 0xf8, 0x03, ...letters, 0xfa, 0xf4]);

  test('it lists, boots the default guest and asks a file', async () => {
    assert.match(await polyvisor('list'), /^kvm +KVM: /m);
    assert.equal(await polyvisor('run', '-H', `${examples}/acme/acme.js`, '--exec', 'uname -s'), 'Linux\n');
    assert.match(await polyvisor('conform', `${examples}/acme-binary/acme.wasm`), /, 0 failed\n$/);
  });

  test('the matrix runs', async () => {
    writeFileSync(join(folder, 'tiny'), kernel);
    const report = await polyvisor('matrix', 'tiny', '-H', 'bare,kvm', '--until', 'ok');
    assert.match(report, /2 of 2 cells passed/);
  });

  test('a bundler makes one file of the library, without a module of Node.js', async () => {
    writeFileSync(
      join(folder, 'page.js'),
      `import { createMachine } from 'polyvisor';
       let seen = '';
       const screen = { write: data => void (seen += new TextDecoder().decode(data)), onInput() {} };
       const machine = await createMachine({ kernel: Uint8Array.from(${JSON.stringify([...kernel])}), console: screen });
       const { kind } = await machine.run();
       globalThis.result = kind + ': ' + seen;`,
    );
    const options = { bundle: true, format: 'esm', platform: 'browser', target: 'es2022', write: false } as const;
    const { outputFiles, warnings } = await build({ ...options, absWorkingDir: folder, entryPoints: ['page.js'] });
    assert.deepEqual(warnings, []);
    const outcome = 'console.log(JSON.stringify(globalThis.result))';
    writeFileSync(join(folder, 'bundle.mjs'), `${outputFiles[0]!.text};\n${outcome}`);
    assert.equal(JSON.parse(await run(process.execPath, 'bundle.mjs')), 'dead-halt: ok\n');
  });

  test('what README.md and docs/ show compiles', async () => {
    const documents = ['README.md', ...files.filter(file => /^docs\/.*\.md$/.test(file))];
    const snippets = documents.flatMap(name =>
      [...read(name).matchAll(/^```ts\n(.*?)^```$/gms)].map(match => match[1]!),
    );
    // The row of the table of instructions in ARCHITECTURE.md is no program; these are.
    assert.ok(snippets.length >= 4);
    mkdirSync(join(folder, 'snippets'));
    for (const [index, text] of snippets.entries()) writeFileSync(join(folder, `snippets/${index}.ts`), text);
    await compiles('snippets', { types: ['node'], typeRoots: [join(root, 'node_modules/@types')] });
  });

  test('the types need neither lib.dom nor those of Node.js', async () => {
    mkdirSync(join(folder, 'plain'));
    writeFileSync(join(folder, 'plain/main.ts'), "export * from 'polyvisor';\n");
    await compiles('plain', { types: [] });
    await compiles('plain', { types: [], lib: ['es2023', 'dom'], module: 'esnext', moduleResolution: 'bundler' });
  });
});

/** Checks the programs of a folder as strictly as can be, the package's declarations included. */
async function compiles(name: string, options: Record<string, unknown>): Promise<void> {
  const compilerOptions = {
    ...{ noEmit: true, strict: true, target: 'es2023', lib: ['es2023'], module: 'nodenext', skipLibCheck: false },
    ...options,
  };
  writeFileSync(join(folder, name, 'tsconfig.json'), JSON.stringify({ compilerOptions }));
  writeFileSync(join(folder, name, 'package.json'), '{ "type": "module" }');
  const complaints = await run(process.execPath, join(root, 'node_modules/typescript/bin/tsc'), '-p', name).catch(
    (error: { stdout: string }) => error.stdout,
  );
  assert.equal(complaints, '');
}
