/*
 * What npm runs before it packs: the sources compiled, nothing left of sources that are gone, the page made, and the examples'
 * .js and .wasm beside their .ts, for those who install the package have no compiler. With --clean, which npm runs after it, the .js go away.
 */
'use strict';

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const root = path.dirname(__dirname);
const compiled = path.join(root, 'dist/examples');

/** Files below `folder` whose name ends with `end`, as paths from there. */
const files = (folder, end) => fs.readdirSync(folder, { recursive: true }).filter(name => name.endsWith(end));

function prepare() {
  require('./set-up.cjs').setUp(root);
  for (const name of files(path.join(root, 'dist/src'), '.js'))
    if (!fs.existsSync(path.join(root, 'src', name.replace(/js$/, 'ts'))))
      for (const end of ['.js', '.js.map', '.d.ts'])
        fs.rmSync(path.join(root, 'dist/src', name.replace(/\.js$/, end)), { force: true });
  for (const name of files(compiled, '.js')) {
    const text = fs.readFileSync(path.join(compiled, name), 'utf8');
    fs.writeFileSync(path.join(root, 'examples', name), text.replace(/\n\/\/# sourceMappingURL=.*\n?$/, '\n'));
  }
  require('./bundle-web.cjs').bundleWeb(root);
  execFileSync('npm', ['run', '--silent', 'acme'], { cwd: root, stdio: ['ignore', 2, 2] });
}

function clean() {
  for (const name of files(compiled, '.js')) fs.rmSync(path.join(root, 'examples', name), { force: true });
}

if (process.argv.includes('--clean')) clean();
else prepare();
