/*
 * Makes dist/web: the page as static files that any server can serve. Names have hashes, so that a browser may keep them for ever;
 * paths are relative. _headers says which headers make it whole, in the form that hosts of static pages read.
 */
'use strict';

const fs = require('node:fs');
const path = require('node:path');

const PROGRAMS = ['main', 'machine-worker', 'translator-worker'];

/*
 * The first two isolate the page, so that its clocks are finer. The policy lets it load nothing from elsewhere: WebAssembly is
 * compiled, zstd's comes as a data: address, and the terminal makes a style sheet of its own.
 */
const HEADERS = `/*
  Cross-Origin-Opener-Policy: same-origin
  Cross-Origin-Embedder-Policy: require-corp
  Content-Security-Policy: default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; connect-src 'self' data:; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'
  X-Content-Type-Options: nosniff
  Referrer-Policy: no-referrer
/assets/*
  Cache-Control: public, max-age=31536000, immutable
`;

/* @returns the folder */
exports.bundleWeb = function bundleWeb(root, folder = path.join(root, 'dist/web')) {
  const { metafile } = require('esbuild').buildSync({
    absWorkingDir: root,
    entryPoints: PROGRAMS.map(name => `web/${name}.ts`),
    bundle: true,
    splitting: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: ['chrome110', 'firefox115', 'safari17'],
    legalComments: 'none',
    entryNames: '[name]-[hash]',
    chunkNames: '[name]-[hash]',
    assetNames: '[name]-[hash]',
    outdir: path.join(folder, 'assets'),
    metafile: true,
    logLevel: 'warning',
  });
  const made = Object.entries(metafile.outputs);
  const script = name =>
    `assets/${path.basename(made.find(([, { entryPoint }]) => entryPoint === `web/${name}.ts`)[0])}`;
  const style = made.find(([file]) => file.endsWith('.css'))[0];
  const lines = [
    `<link rel="stylesheet" href="assets/${path.basename(style)}">`,
    `<script type="module" src="${script('main')}"></script>`,
    ...PROGRAMS.slice(1).map(name => `<meta name="${name}" content="${script(name)}">`),
  ];
  const page = fs.readFileSync(path.join(root, 'web/index.html'), 'utf8');
  fs.writeFileSync(path.join(folder, 'index.html'), page.replace('<!-- files -->', lines.join('\n')));
  fs.writeFileSync(path.join(folder, '_headers'), HEADERS);
  const kept = new Set(made.map(([file]) => path.basename(file)));
  for (const name of fs.readdirSync(path.join(folder, 'assets')))
    if (!kept.has(name)) fs.rmSync(path.join(folder, 'assets', name));
  return folder;
};

if (require.main === module) process.stdout.write(`${exports.bundleWeb(path.dirname(__dirname))}\n`);
