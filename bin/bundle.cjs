/*
 * Makes dist/bundle of dist/src: the command line as a few files, since a start loads hundreds of modules in each of its threads
 * otherwise, and spends a fifth of a second on that. The program of a worker stands beside the code that starts it.
 */
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { execFileSync } = require('node:child_process');
const { pathToFileURL } = require('node:url');

/** What stands for itself: the command, and the library, which files with hypervisors import. */
const MAIN = ['dist/src/cli/main.js', 'dist/src/index.js'];

/** The programs of processes and workers below `folder`: those that code names as `new URL('./name.js', import.meta.url)`. */
function programs(folder) {
  const found = [];
  for (const entry of fs.readdirSync(folder, { recursive: true })) {
    if (!entry.endsWith('.js') || entry.endsWith('.test.js')) continue;
    const file = path.join(folder, entry);
    for (const [, name] of fs.readFileSync(file, 'utf8').matchAll(/new URL\('\.\/([\w-]+\.js)', import\.meta\.url\)/g))
      found.push(path.join(path.dirname(file), name));
  }
  return found;
}

/** As artifact-cache.ts has it, which is no CommonJS. */
function engineVersion(root) {
  const file = pathToFileURL(path.join(root, 'dist/src/host/node/artifact-cache.js')).href;
  const program = `import { engineVersion } from ${JSON.stringify(file)}; process.stdout.write(engineVersion());`;
  return execFileSync(process.execPath, ['--input-type=module', '--eval', program], { encoding: 'utf8' });
}

exports.bundle = function bundle(root) {
  const folder = path.join(root, 'dist/bundle');
  const { metafile } = require('esbuild').buildSync({
    absWorkingDir: root,
    entryPoints: [...new Set([...MAIN.map(name => path.join(root, name)), ...programs(path.join(root, 'dist/src'))])],
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    packages: 'external',
    define: { 'globalThis.polyvisorEngineVersion': JSON.stringify(engineVersion(root)) },
    // Names stay, for what is said of a mistake.
    minifyWhitespace: true,
    minifySyntax: true,
    entryNames: '[name]',
    outdir: folder,
    metafile: true,
    logLevel: 'warning',
  });
  const made = new Set(Object.keys(metafile.outputs).map(name => path.basename(name)));
  for (const name of fs.readdirSync(folder)) if (!made.has(name)) fs.rmSync(path.join(folder, name));
};

if (require.main === module) exports.bundle(path.dirname(__dirname));
