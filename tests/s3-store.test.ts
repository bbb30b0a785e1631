/**
 * A fleet's store behind S3's API: against s3rver, which shares no code with ours, and against a server of a few lines that does what
 * servers do on their bad days, and checks signatures, which s3rver does not. Skips itself where aws4fetch or s3rver is not installed.
 */
import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import type { CellSpec } from '../src/cli/cell.ts';
import { status } from '../src/cli/exit-status.ts';
import { Failure } from '../src/cli/failure.ts';
import { isCellJob, jobsOf, specHere } from '../src/cli/fleet/cell-job.ts';
import { openS3Store, parseS3 } from '../src/cli/fleet/s3-store.ts';
import { digest } from '../src/cli/matrix-plan.ts';
import { polyvisor } from './command.ts';
import { type S3rver, startS3rver, without } from './s3rver.ts';

/** Short waits; a server that is silent for so long is none that is only slow. */
const HASTE = { tries: 3, wait: 1, silence: 10_000 };
const KEYS = { AWS_ACCESS_KEY_ID: 'key', AWS_SECRET_ACCESS_KEY: 'secret' };
const bytes = Buffer.from('a kernel');
const name = digest(bytes);

const refused = (exitStatus: number, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof Failure, String(error));
  assert.match(error.message, message);
  assert.equal(error.status, exitStatus);
  return true;
};

describe('a store on s3rver', { skip: without('aws4fetch', 's3rver'), timeout: 300_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'polyvisor-s3-'));
  let server: S3rver | undefined;
  let env: Record<string, string> = {};
  const open = (place = 's3://fleet/night/1', more: Record<string, string> = {}) =>
    openS3Store(parseS3(place, { ...env, ...more }), HASTE);

  before(async () => {
    server = await startS3rver(join(folder, 's3'), 'fleet');
    env = { ...server.env, AWS_REGION: 'eu-central-1' };
  });
  after(async () => {
    await server?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test('what one puts another gets, below its prefix, by its digest', async () => {
    const store = await open();
    assert.equal(await store.get(name), undefined);
    assert.equal(await store.put(bytes), name);
    assert.equal(await store.put(bytes), name, 'a second time');
    assert.deepEqual(await (await open('s3://fleet/night/1/')).get(name), bytes);
    assert.equal(await (await open('s3://fleet')).get(name), undefined);
    const large = Buffer.alloc(3_000_000, 'root');
    assert.deepEqual(await store.get(await store.put(large)), large);
    const empty = Buffer.alloc(0);
    assert.deepEqual(await store.get(await store.put(empty)), empty);
  });

  test('what is damaged there is removed, and can be put again', async () => {
    const store = await open();
    const packageName: string = 'aws4fetch';
    const { AwsClient } = await import(packageName);
    const client = new AwsClient({ accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER', service: 's3' });
    const url = `${env.AWS_ENDPOINT_URL}/fleet/night/1/${name}`;
    const answer: Response = await client.fetch(url, { method: 'PUT', body: 'A kernel' });
    assert.equal(answer.status, 200);
    assert.equal(await store.get(name), undefined);
    const { status }: Response = await client.fetch(url, { method: 'HEAD' });
    assert.equal(status, 404);
    await store.put(bytes);
    assert.deepEqual(await store.get(name), bytes);
  });

  test('the files of a cell go through it', async () => {
    const store = await open();
    const kernelFile = join(folder, 'bzImage');
    const hypervisorFile = join(folder, 'mine.js');
    writeFileSync(kernelFile, 'kernel');
    writeFileSync(hypervisorFile, 'export default {}');
    const spec = { kernel: 'k', hypervisor: 'mine.js', script: '', kernelFile, hypervisorFile } as unknown as CellSpec;
    const jobs = await jobsOf('run', [spec, spec], store);
    assert.ok(jobs.every(isCellJob));
    const written = new Map<string, string>();
    const here = await specHere(jobs[1]!, async (file, name) => {
      written.set(name, `${await store.get(file)}`);
      return `/there/${name}`;
    });
    assert.equal(here.kernelFile, '/there/bzImage');
    assert.deepEqual(
      [...written],
      [
        ['bzImage', 'kernel'],
        ['mine.js', 'export default {}'],
      ],
    );
  });

  test('a wrong key, no such bucket', async () => {
    const key = /^--store s3:\/\/fleet\/night\/1: http:\S+ refuses the key: InvalidAccessKeyId: .*AWS_ACCESS_KEY_ID/;
    await assert.rejects(open(undefined, { AWS_ACCESS_KEY_ID: 'NOBODY' }), refused(status.unavailable, key));
    const bucket = /^--store s3:\/\/nobody: http:\S+ has no bucket nobody: create it, or name another one$/;
    await assert.rejects(open('s3://nobody'), refused(status.unavailable, bucket));
  });
});

/**
 * What the Authorization header should be (S3 API Reference, "Authenticating Requests: Using the Authorization Header"), for paths
 * without escapes and without a query.
 */
function authorization({ method, url, headers }: IncomingMessage, secret: string): string {
  const [, scope = '', names = ''] =
    /^AWS4-HMAC-SHA256 Credential=[^/]+\/([^,]+), ?SignedHeaders=([^,]+),/.exec(headers.authorization ?? '') ?? [];
  const lines = names.split(';').map(name => `${name}:${headers[name]}`);
  const content = `${headers['x-amz-content-sha256']}`;
  const request = [method, url, '', ...lines, '', names, content].join('\n');
  const hash = createHash('sha256').update(request).digest('hex');
  const text = ['AWS4-HMAC-SHA256', headers['x-amz-date'], scope, hash].join('\n');
  let key: string | Buffer = `AWS4${secret}`;
  for (const part of scope.split('/')) key = createHmac('sha256', key).update(part).digest();
  return createHmac('sha256', key).update(text).digest('hex');
}

type Fault = (response: ServerResponse, request: IncomingMessage) => void;
const answer =
  (code: number, word: string, headers = {}): Fault =>
  response =>
    response.writeHead(code, headers).end(`<Error><Code>${word}</Code><Message>so it &quot;is&quot;</Message></Error>`);
const reset: Fault = response => void response.socket?.resetAndDestroy();
const other: Fault = response => void response.end('A kernel');
const cut: Fault = response => {
  response.writeHead(200, { 'content-length': '8' }).write('a ke');
  setImmediate(() => response.destroy());
};

describe('a store on a server with bad days', { skip: without('aws4fetch'), timeout: 300_000 }, () => {
  const objects = new Map<string, Buffer>();
  /** What happens to the next requests, each once; and to all, if there is one. */
  let faults: Fault[] = [];
  let always: Fault | undefined;
  let requests: string[] = [];
  const tokens = new Set<unknown>();
  let env: Record<string, string> = {};

  const server = createServer(async (request, response) => {
    const { method = '', url = '' } = request;
    requests.push(method);
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece);
    const { headers } = request;
    const whole = digest(Buffer.concat(pieces)) === headers['x-amz-content-sha256'];
    const signed = headers.authorization?.endsWith(`Signature=${authorization(request, KEYS.AWS_SECRET_ACCESS_KEY)}`);
    tokens.add(headers['x-amz-security-token']);
    if (!whole || !signed) return answer(403, whole ? 'SignatureDoesNotMatch' : 'NotWhole')(response, request);
    const fault = faults.shift() ?? always;
    if (fault) return fault(response, request);
    const found = objects.get(url);
    if (method === 'PUT') objects.set(url, Buffer.concat(pieces));
    else if (method === 'DELETE') objects.delete(url);
    else if (!found) return answer(404, 'NoSuchKey')(response, request);
    else response.setHeader('content-length', found.length);
    response.end(method === 'GET' ? found : undefined);
  });
  const open = (patience = HASTE, place = 's3://fleet') => openS3Store(parseS3(place, env), patience);

  before(async () => {
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    env = { AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${port}/below/`, AWS_ENDPOINT_URL: 'http://not.this', ...KEYS };
  });
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  afterEach(() => {
    objects.clear();
    faults = [];
    always = undefined;
    requests = [];
  });

  test('what passes by itself is tried again', async () => {
    const store = await open();
    const passing = [answer(500, 'InternalError'), answer(503, 'SlowDown'), reset, answer(429, 'TooManyRequests')];
    for (const fault of [...passing, answer(400, 'BadDigest'), answer(409, 'OperationAborted')]) {
      objects.clear();
      faults = [answer(404, ''), fault, fault];
      requests = [];
      assert.equal(await store.put(bytes), name);
      assert.deepEqual(requests, ['HEAD', 'PUT', 'PUT', 'PUT']);
      assert.deepEqual([...objects], [[`/below/fleet/${name}`, bytes]]);
    }
    for (const fault of [...passing, cut]) {
      faults = [fault, fault];
      assert.deepEqual(await store.get(name), bytes);
      assert.equal(faults.length, 0);
    }
    requests = [];
    await store.put(bytes);
    assert.deepEqual(requests, ['HEAD'], 'what is there is not sent again');
    objects.set(`/below/fleet/${name}`, bytes.subarray(1));
    await store.put(bytes);
    assert.deepEqual(objects.get(`/below/fleet/${name}`), bytes, 'unless it cannot be the same');
  });

  test('requests are signed, with a session too; a wrong secret is told', async () => {
    await openS3Store(parseS3('s3://fleet/a-b.c/_d', env), HASTE);
    tokens.clear();
    await openS3Store(parseS3('s3://fleet', { ...env, AWS_SESSION_TOKEN: 'to/k+en=', AWS_REGION: 'eu-west-1' }), HASTE);
    assert.deepEqual([...tokens], ['to/k+en=']);
    const secret = /refuses the key: SignatureDoesNotMatch: .*: look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY$/;
    const wrong = parseS3('s3://fleet', { ...env, AWS_SECRET_ACCESS_KEY: 'guess' });
    await assert.rejects(openS3Store(wrong, HASTE), refused(status.unavailable, secret));
  });

  test('a worker says in one line what is wrong', async () => {
    const queue = ['worker', '--queue', 'redis://127.0.0.1:9', '--store'];
    const secret = await polyvisor([...queue, 's3://fleet'], { env: { ...env, AWS_SECRET_ACCESS_KEY: 'guess' } });
    assert.match(secret.stderr, /^polyvisor: --store s3:\/\/fleet: .* refuses the key: SignatureDoesNotMatch: .*\n$/);
    assert.doesNotMatch(secret.stderr, /guess/);
    assert.equal(secret.status, status.unavailable);
    // Loaded before any module of ours: as if the package were not there.
    const hook = `export const resolve = (name, context, next) => {
      if (name === 'aws4fetch') throw Object.assign(new Error(name), { code: 'ERR_MODULE_NOT_FOUND' });
      return next(name, context);
    };`;
    const url = (code: string) => `data:text/javascript,${encodeURIComponent(code)}`;
    const register = `import { register } from 'node:module'; register(${JSON.stringify(url(hook))});`;
    const bare = await polyvisor([...queue, 's3://fleet'], {
      env: { ...env, NODE_OPTIONS: `--import=${url(register)}` },
    });
    assert.equal(
      bare.stderr,
      'polyvisor: --store s3://…: needs the package aws4fetch, which is not installed: npm install --save-prod aws4fetch@1\n',
    );
    assert.equal(bare.status, status.unavailable);
  });

  test('what does not pass is said after so many tries, or at once', async () => {
    const store = await open();
    await store.put(bytes);
    const inVain = async (fault: Fault, count: number, exitStatus: number, message: RegExp) => {
      always = fault;
      requests = [];
      await assert.rejects(store.get(name), refused(exitStatus, message));
      assert.equal(requests.length, count, String(message));
    };
    const { unavailable, output } = status;
    const { tries } = HASTE;
    const server = /^--store s3:\/\/fleet: http:\/\/127\.0\.0\.1:\d+ /.source;
    const said = (text: string) => RegExp(`${server}${text}$`);
    await inVain(
      answer(500, 'InternalError'),
      tries,
      unavailable,
      said('answers InternalError: so it "is" \\(tried 3 times\\)'),
    );
    await inVain(
      reset,
      tries,
      unavailable,
      said('does not answer: .*(ECONNRESET|other side closed).* \\(tried 3 times\\)'),
    );
    await inVain(cut, tries, unavailable, said('does not answer: .* \\(tried 3 times\\)'));
    await inVain(answer(507, 'XMinioStorageFull'), 1, output, said('has no more room: XMinioStorageFull: .*'));
    await inVain(answer(403, 'QuotaExceeded'), 1, output, said('has no more room: QuotaExceeded: .*'));
    await inVain(
      answer(403, 'AccessDenied'),
      1,
      unavailable,
      said('refuses: AccessDenied: .* GetObject, PutObject .*'),
    );
    await inVain(
      answer(403, 'RequestTimeTooSkewed'),
      1,
      unavailable,
      said("has another time: .*: set this machine's clock"),
    );
    await inVain(answer(404, 'NoSuchBucket'), 1, unavailable, said('has no bucket fleet: .*'));
    await inVain(response => response.writeHead(404).end('nothing here'), 1, unavailable, said('answers status 404'));
    await inVain(
      answer(301, 'PermanentRedirect', { location: 'http://127.0.0.1:1/', 'x-amz-bucket-region': 'eu-west-1' }),
      1,
      unavailable,
      /: the bucket is in eu-west-1, and AWS_REGION is us-east-1: PermanentRedirect/,
    );
    const flood = `<Code>a\u001b[31m&lt;&constructor;\n${'b'.repeat(500)}</Code>`;
    always = response => response.writeHead(400).end(flood);
    const { message } = (await store.get(name).catch((error: unknown) => error)) as Failure;
    assert.match(message, /answers a.*<&constructor;.*b{100}/);
    assert.ok(message.length < 400 && !message.includes('\u001b'), message);
  });

  test('damage on the way is met with a second download, damage there with removal', async () => {
    const store = await open();
    await store.put(bytes);
    faults = [other];
    assert.deepEqual(await store.get(name), bytes);
    faults = [other, other];
    requests = [];
    assert.equal(await store.get(name), undefined);
    assert.deepEqual(requests, ['GET', 'GET', 'DELETE']);
    assert.equal(objects.has(`/below/fleet/${name}`), false);
    faults = [other, other, answer(403, 'AccessDenied')];
    await assert.rejects(store.get(name), refused(status.unavailable, /DeleteObject/));
  });

  test('silence is ended, slowness is not', async () => {
    const patience = { tries: 2, wait: 1, silence: 10_000 };
    const store = await open(patience);
    await store.put(bytes);
    patience.silence = 100;
    always = () => {};
    const said = /does not answer: silent for 1 seconds \(tried 2 times\)/;
    await assert.rejects(store.get(name), refused(status.unavailable, said));
    always = response => void response.writeHead(200).write('a');
    await assert.rejects(store.get(name), refused(status.unavailable, said));
    patience.silence = 10_000;
    always = response => {
      const letters = [...bytes.toString()];
      const timer = setInterval(() => {
        const letter = letters.shift();
        if (letter !== undefined) return response.write(letter);
        clearInterval(timer);
        response.end();
      }, 20);
    };
    assert.deepEqual(await store.get(name), bytes);
  });

  test('a server that keeps nothing, or is not there', async () => {
    always = response => void response.end('<html>Welcome</html>');
    await assert.rejects(open(), refused(status.unavailable, /does not give back what was put into it/));
    const { AWS_ENDPOINT_URL_S3: _, ...rest } = env;
    const nobody = parseS3('s3://fleet', { ...rest, AWS_ENDPOINT_URL: 'http://127.0.0.1:9' });
    const said = /^--store s3:\/\/fleet: http:\/\/127\.0\.0\.1:9 does not answer: .* \(tried 3 times\)$/;
    await assert.rejects(openS3Store(nobody, HASTE), refused(status.unavailable, said));
  });
});

test('the name of a store, and the variables', () => {
  const at = (text: string, env = {}) => parseS3(text, { ...KEYS, ...env });
  assert.equal(at('s3://fleet').base, 'https://fleet.s3.us-east-1.amazonaws.com');
  assert.equal(
    at('s3://fleet/a.b/c', { AWS_REGION: 'eu-west-1' }).base,
    'https://fleet.s3.eu-west-1.amazonaws.com/a.b/c',
  );
  assert.equal(
    at('s3://fleet/a', { AWS_ENDPOINT_URL: 'https://s3.example:9000' }).base,
    'https://s3.example:9000/fleet/a',
  );
  assert.equal(at('s3://fleet', { AWS_SESSION_TOKEN: 'word' }).sessionToken, 'word');
  for (const text of ['s3://', 's3://a', 's3://Fleet', 's3://fleet/a b', 's3://fleet/../other', 's3://key:word@fleet'])
    assert.throws(() => at(text), refused(status.usage, /: s3:\/\/BUCKET\[\/PREFIX\], the bucket of /));
  const keys = /^--store s3:\/\/fleet: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to /;
  assert.throws(() => parseS3('s3://fleet', {}), refused(status.usage, keys));
  const secret = /^--store s3:\/\/fleet: set AWS_SECRET_ACCESS_KEY to /;
  assert.throws(() => at('s3://fleet', { AWS_SECRET_ACCESS_KEY: '' }), refused(status.usage, secret));
  for (const endpoint of ['s3.example', 'ftp://s3.example', 'https://key:word@s3.example'])
    assert.throws(
      () => at('s3://fleet', { AWS_ENDPOINT_URL: endpoint }),
      refused(status.usage, /^AWS_ENDPOINT_URL: must be a server's address/),
    );
  assert.throws(() => at('s3://fleet', { AWS_REGION: 'here/there' }), refused(status.usage, /is no name of a region/));
});
