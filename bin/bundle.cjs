/*
 * Makes dist/bundle of dist/src: all programs of the command line in one file, since a start loads hundreds of modules in each of
 * its threads otherwise. It is CommonJS, for which alone Node.js keeps compiled code (src/host/node/code-cache.ts): programs.cjs
 * has everything, start.cjs what starts a program of it, PROGRAM.cjs the call that does, and guest-thread.cjs what bin/launch.cjs
 * starts before it.
 */
'use strict';

const { createHash } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { execFileSync } = require('node:child_process');
const { pathToFileURL } = require('node:url');

/** What is read in a thread of Node.js' own, as a module. */
const HOOKS = 'plugin-hooks';

/** The programs of processes and workers below `folder`: those that code names as `new URL('./name.js', import.meta.url)`. */
function programs(folder) {
  const found = [];
  for (const entry of fs.readdirSync(folder, { recursive: true })) {
    if (!entry.endsWith('.js') || entry.endsWith('.test.js')) continue;
    const file = path.join(folder, entry);
    for (const [, name] of fs.readFileSync(file, 'utf8').matchAll(/new URL\('\.\/([\w-]+\.js)', import\.meta\.url\)/g))
      found.push(path.join(path.dirname(file), name));
  }
  return [...new Set(found)];
}

/** As artifact-cache.ts has it, which is no CommonJS. */
function engineVersion(root) {
  const file = pathToFileURL(path.join(root, 'dist/src/host/node/artifact-cache.js')).href;
  const program = `import { engineVersion } from ${JSON.stringify(file)}; process.stdout.write(engineVersion());`;
  return execFileSync(process.execPath, ['--input-type=module', '--eval', program], { encoding: 'utf8' });
}

/** CommonJS has no address of its own. */
const ADDRESS = {
  define: { 'import.meta.url': 'importMetaUrl' },
  banner: { js: 'const importMetaUrl=require("node:url").pathToFileURL(__filename).href;' },
};

/** `code` as a script that names the programs beside it, and has no `import()`: whoever starts it gives it one. */
function adapted(code) {
  const changed = code
    .replace(/new URL\("\.\/([\w-]+)\.js"/g, (url, name) => (name === HOOKS ? url : `new URL("./${name}.cjs"`))
    .replace(/(?<=\bawait |\()import\(/g, 'importModule(');
  // Methods have the name, too.
  const left = /(?<![.}])\bimport\(.{40}/.exec(changed);
  if (left) throw new Error(`bin/bundle.cjs does not know this kind of import: ${left[0]}`);
  return changed;
}

exports.bundle = function bundle(root) {
  const folder = path.join(root, 'dist/bundle');
  const nameOf = file => path.basename(file, '.js');
  const found = programs(path.join(root, 'dist/src'));
  const started = [path.join(root, 'dist/src/cli/main.js'), ...found.filter(file => nameOf(file) !== HOOKS)];
  const build = (from, format, changes = {}) =>
    require('esbuild').buildSync({
      absWorkingDir: root,
      ...from,
      bundle: true,
      format,
      platform: 'node',
      target: 'node20',
      packages: 'external',
      // Names stay, for what is said of a mistake.
      minifyWhitespace: true,
      minifySyntax: true,
      write: false,
      logLevel: 'warning',
      ...changes,
    }).outputFiles[0].text;

  const calls = started.map(file => `[${JSON.stringify(nameOf(file))}, () => import(${JSON.stringify(file)})]`);
  const contents = `export const programs = new Map([${calls.join(', ')}]);`;
  const code = build({ stdin: { contents, resolveDir: root } }, 'cjs', {
    ...ADDRESS,
    define: { ...ADDRESS.define, 'globalThis.polyvisorEngineVersion': JSON.stringify(engineVersion(root)) },
  });
  const files = new Map([
    ['programs.cjs', adapted(code)],
    ['start.cjs', build({ entryPoints: [path.join(root, 'dist/src/host/node/code-cache.js')] }, 'cjs', ADDRESS)],
    [
      'guest-thread.cjs',
      adapted(build({ entryPoints: [path.join(root, 'dist/src/cli/guest-thread.js')] }, 'cjs', ADDRESS)),
    ],
  ]);
  for (const file of found) if (nameOf(file) === HOOKS) files.set(`${HOOKS}.js`, build({ entryPoints: [file] }, 'esm'));
  const version = createHash('sha256').update(files.get('programs.cjs')).digest('hex').slice(0, 32);
  for (const file of started) {
    const words = [nameOf(file), version].map(word => JSON.stringify(word)).join(', ');
    files.set(`${nameOf(file)}.cjs`, `module.exports = require('./start.cjs').startProgram(__dirname, ${words});\n`);
  }
  fs.mkdirSync(folder, { recursive: true });
  // What others look at to see whether there is a bundle comes last.
  for (const [name, text] of [...files].sort(([x], [y]) => (x === 'main.cjs') - (y === 'main.cjs'))) {
    const work = path.join(folder, `${name}.${process.pid}`);
    fs.writeFileSync(work, text);
    fs.renameSync(work, path.join(folder, name));
  }
  for (const name of fs.readdirSync(folder)) if (!files.has(name)) fs.rmSync(path.join(folder, name));
};

if (require.main === module) exports.bundle(path.dirname(__dirname));
