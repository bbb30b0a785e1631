/*
 * The set-up of a clone: dependencies installed, sources compiled, each only where needed, and by one process at a time. An
 * installed package has no tsconfig.json and needs none of it.
 */
'use strict';

const fs = require('node:fs');
const path = require('node:path');

/** Written by the compiler and touched after every build: what is newer than this has not been compiled. */
const stampOf = root => path.join(root, 'dist/.tsbuildinfo');

/** When `file` last changed, in milliseconds since the epoch; 0 if it is not there. */
function changed(file) {
  const stat = fs.statSync(file, { throwIfNoEntry: false });
  return stat ? stat.mtimeMs : 0;
}

/**
 * The newest change of a TypeScript file in `folder`, or of a folder there, for a file may have been removed. Packing puts other files
 * into the examples' folders, which are no change: whoever starts meanwhile would compile, and say so.
 */
function newest(folder, folderCounts = path.basename(folder) !== 'examples') {
  if (changed(folder) === 0) return 0;
  let time = folderCounts ? changed(folder) : 0;
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) time = Math.max(time, newest(file, folderCounts));
    else if (entry.name.endsWith('.ts')) time = Math.max(time, changed(file));
  }
  return time;
}

/** True where the dependencies are not those of the lock file. npm writes its own note of them up to seconds before that. */
function wantsInstall(root) {
  const installed = changed(path.join(root, 'node_modules/.package-lock.json'));
  return installed + 5000 < changed(path.join(root, 'package-lock.json'));
}

const mainOf = root => path.join(root, 'dist/src/cli/main.js');

/** True where a source is newer than the last build. */
function wantsBuild(root) {
  const built = changed(mainOf(root)) && changed(stampOf(root));
  return ['src', 'tests', 'bench', 'tools', 'examples', 'tsconfig.json'].some(name => {
    const file = path.join(root, name);
    return (name.endsWith('.json') ? changed(file) : newest(file)) > built;
  });
}

const programOf = root => path.join(root, 'dist/bundle/main.cjs');

/** True where the bundle is older than the last build, or than what makes it. */
function wantsBundle(root) {
  const bundled = changed(programOf(root));
  return bundled === 0 || bundled < Math.max(changed(stampOf(root)), changed(path.join(root, 'bin/bundle.cjs')));
}

/** Runs a step of the set-up, its output on stderr: stdout belongs to the guest. */
function step(root, title, command, args) {
  const { spawnSync } = require('node:child_process');
  process.stderr.write(`polyvisor: ${title}\n`);
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], shell: process.platform === 'win32' });
  if (result.status !== 0) {
    const why = result.error ? result.error.message : `it ended with ${result.signal || `status ${result.status}`}`;
    process.stderr.write(`polyvisor: set-up failed in "${[command].concat(args).join(' ')}": ${why}\n`);
    process.exit(69);
  }
}

/** One set-up at a time: the lock holds the process id of who is at it. */
function locked(root, work) {
  const lock = path.join(root, '.setup.lock');
  for (let told = false; ; ) {
    try {
      fs.writeFileSync(lock, String(process.pid), { flag: 'wx' });
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') {
        process.stderr.write(`polyvisor: cannot set up in ${root}: ${error.message}\n`);
        process.exit(69);
      }
    }
    if (!alive(lock)) fs.rmSync(lock, { force: true });
    else if (!told) {
      told = true;
      process.stderr.write('polyvisor: waiting for another process that is setting up\n');
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  }
  const release = () => fs.rmSync(lock, { force: true });
  process.once('exit', release);
  work();
  process.removeListener('exit', release);
  release();
}

function alive(lock) {
  try {
    process.kill(Number(fs.readFileSync(lock, 'utf8')), 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** Installs and compiles what is missing or has changed in the clone at `root`; says what takes long on stderr. */
exports.setUp = function setUp(root) {
  if (!fs.existsSync(path.join(root, 'tsconfig.json'))) return;
  if (!(wantsInstall(root) || wantsBuild(root) || wantsBundle(root))) return;
  locked(root, () => {
    if (wantsInstall(root)) {
      const quietly = ['--no-fund', '--no-audit', '--loglevel=error'];
      step(root, 'installing the dependencies (once) …', 'npm', ['ci'].concat(quietly));
    }
    if (wantsBuild(root)) {
      const tsc = path.join(root, 'node_modules/typescript/bin/tsc');
      const start = new Date();
      // The compiler trusts its note even where what it tells of has been removed.
      if (!changed(mainOf(root))) fs.rmSync(stampOf(root), { force: true });
      step(root, 'compiling (when the sources have changed) …', process.execPath, [tsc, '-p', root]);
      // The compiler leaves it alone when nothing changed but times; what is edited from `start` on is compiled next time.
      fs.utimesSync(stampOf(root), start, start);
    }
    if (wantsBundle(root)) require('./bundle.cjs').bundle(root);
  });
};
