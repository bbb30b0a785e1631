/*
 * Starts the command line. CommonJS without modern syntax in what runs first, so that a Node.js too old for the rest still
 * gets as far as the message.
 */
'use strict';

var major = Number(process.versions.node.split('.')[0]);
if (major < 20) {
  console.error('polyvisor: this is Node.js ' + process.versions.node + ': version 20 or newer is needed');
  process.exit(69);
}

const path = require('node:path');

const root = path.dirname(__dirname);
require('./set-up.cjs').setUp(root);

const bundled = name => require(path.join(root, 'dist/bundle', `${name}.cjs`));
const words = process.argv.slice(2);

started().then(
  ([module, thread]) => module.main(words, thread),
  error => {
    if (error.code === 'EMFILE' || error.code === 'ENFILE') {
      process.stderr.write('polyvisor: too many open files: the limit is too low (see ulimit -n)\n');
      process.exit(71);
    }
    process.stderr.write('polyvisor: the installation is damaged: ' + error.message + '\n');
    process.exit(70);
  },
);

/** The program, and the thread of a guest that is going to run: it is the last to be ready, so it starts before the program is loaded. */
async function started() {
  const isRun = ['run', 'shell'].includes(words[0]) && !words.includes('--help') && !words.includes('-h');
  const thread = isRun ? bundled('guest-thread').startGuestThread() : undefined;
  return [await bundled('main'), thread];
}
