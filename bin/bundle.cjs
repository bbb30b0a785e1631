/*
 * Makes dist/bundle of dist/src: the command line as a few files, since a start loads hundreds of modules in each of its threads
 * otherwise, and spends a fifth of a second on that. A worker's program stands beside the code that starts it ("./name.js").
 */
'use strict';

const fs = require('node:fs');
const path = require('node:path');

/** What is started by its name: the command, its processes and workers, and what files with hypervisors import. */
const PROGRAMS = [
  'cli/main',
  'cli/thread-worker',
  'cli/cell-process',
  'cli/conform-worker',
  'cli/self-watch-worker',
  'host/node/translator-worker',
  'host/node/plugin-hooks',
  'index',
];

exports.bundle = function bundle(root) {
  const folder = path.join(root, 'dist/bundle');
  const { metafile } = require('esbuild').buildSync({
    absWorkingDir: root,
    entryPoints: PROGRAMS.map(name => `dist/src/${name}.js`),
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    packages: 'external',
    entryNames: '[name]',
    outdir: folder,
    metafile: true,
    logLevel: 'warning',
  });
  const made = new Set(Object.keys(metafile.outputs).map(name => path.basename(name)));
  for (const name of fs.readdirSync(folder)) if (!made.has(name)) fs.rmSync(path.join(folder, name));
};

if (require.main === module) exports.bundle(path.dirname(__dirname));
