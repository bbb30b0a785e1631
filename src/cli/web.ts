/** `polyvisor web`: the page, on this machine's own loopback address, or written to a folder for any server. */
import { copyFileSync, createReadStream, existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { status } from './exit-status.ts';
import { Failure, withFile } from './failure.ts';
import { fetchGuest } from './fetch-guest.ts';
import { print } from './output.ts';
import { createSite, type Site, type SiteFile, type SiteKernel } from './web-site.ts';

export interface WebOptions {
  port: string;
  initrd?: string;
  output?: string;
}

const ADDRESS = '127.0.0.1';

const TYPES: ReadonlyMap<string, string> = new Map([
  ['html', 'text/html; charset=utf-8'],
  ['js', 'text/javascript; charset=utf-8'],
  ['css', 'text/css; charset=utf-8'],
  ['json', 'application/json'],
]);

/** @throws Failure */
export async function web(kernels: readonly string[], { port, initrd, output }: WebOptions): Promise<number> {
  const number = Number(port);
  if (!/^\d+$/.test(port) || number > 65535) throw new Failure(`--port ${port}: a number from 0 to 65535 is wanted`);
  const guest = await fetchGuest();
  const site = createSite([
    { name: `Debian ${guest.release}`, kernel: guest.kernel, initrd: guest.initrd },
    ...kernels.map((file): SiteKernel => ({ name: basename(file), kernel: file, initrd: initrd ?? guest.initrd })),
  ]);
  if (output !== undefined) return write(site, output);
  const server = await listen(site, number);
  const { port: given } = server.address() as AddressInfo;
  print(`http://${ADDRESS}:${given}/\n`);
  process.stderr.write('polyvisor: the page is there as long as this runs; Ctrl-C ends it\n');
  // A signal ends the process.
  return new Promise(() => {});
}

/** @throws Failure where the port cannot be had */
export async function listen(site: Site, port: number): Promise<Server> {
  const server = createServer((request, response) => answer(site, request, response));
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const taken = error.code === 'EADDRINUSE' ? 'is in use: name another one, or 0 for any' : error.message;
      reject(new Failure(`--port ${port}: ${taken}`, status.inUse));
    });
    server.listen(port, ADDRESS, resolve);
  });
  return server;
}

function answer({ files, headers }: Site, request: IncomingMessage, response: ServerResponse): void {
  const refuse = (code: number) => void response.writeHead(code, { 'Content-Type': 'text/plain' }).end(`${code}\n`);
  // Somebody else's page, whose name leads here, is not to read what is served.
  if (!/^(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?$/.test(request.headers.host ?? '')) return refuse(403);
  if (request.method !== 'GET' && request.method !== 'HEAD') return refuse(405);
  const [path = ''] = (request.url ?? '/').slice(1).split('?');
  const name = path === '' ? 'index.html' : path;
  const file = files.get(name);
  if (!file) return refuse(404);
  for (const { prefix, name: header, value } of headers) if (name.startsWith(prefix)) response.setHeader(header, value);
  response.setHeader('Content-Type', TYPES.get(name.split('.').at(-1)!) ?? 'application/octet-stream');
  if (!response.hasHeader('Cache-Control')) response.setHeader('Cache-Control', 'no-cache');
  if (request.method === 'HEAD') return void response.end();
  if ('text' in file) return void response.end(file.text);
  createReadStream(file.path)
    .on('error', () => response.destroy())
    .pipe(response);
}

/** Writes the page and its kernels to `folder`. @throws Failure */
function write({ files }: Site, folder: string): number {
  let bytes = 0;
  for (const [name, file] of files) {
    const path = join(folder, name);
    withFile(path, status.output, () => {
      makeFolder(dirname(path));
      copy(file, path);
      bytes += statSync(path).size;
    });
  }
  print(`${folder}: ${files.size} files, ${(bytes / 1e6).toFixed(1)} MB\n`);
  return status.ok;
}

/** One by one: `recursive` never returns where nothing can be made, as in /proc (Node.js 20). */
function makeFolder(path: string): void {
  if (existsSync(path)) return;
  makeFolder(dirname(path));
  mkdirSync(path);
}

function copy(file: SiteFile, path: string): void {
  if ('text' in file) writeFileSync(path, file.text);
  else copyFileSync(file.path, path);
}
