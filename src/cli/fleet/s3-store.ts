/**
 * A fleet's store behind S3's API, on Amazon's or any other server: an object is named by the SHA-256 of its contents, below a prefix
 * of a bucket. Who uses it installs aws4fetch, which signs the requests (AWS Signature Version 4). Whatever can pass by itself is
 * tried again, a bounded number of times.
 */
import { visibleLine } from '../../matrix/escape.ts';
import { status } from '../exit-status.ts';
import { Failure } from '../failure.ts';
import { MOST_INPUT } from '../input-file.ts';
import { digest } from '../matrix-plan.ts';
import { loadPeer } from './peer.ts';
import type { Store } from './store.ts';

/** The part of aws4fetch's interface that is used. */
interface Signer {
  sign(url: string, init: RequestInit): Promise<Request>;
}
interface Aws {
  AwsClient: new (settings: {
    accessKeyId: string;
    secretAccessKey: string;
    sessionToken?: string | undefined;
    service: string;
    region: string;
  }) => Signer;
}

/** Where objects are, and who asks for them. */
export interface S3Place {
  /** As on the command line. */
  name: string;
  bucket: string;
  /** The server, for people. */
  server: string;
  /** What stands before an object's name in its URL. */
  base: string;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken: string | undefined;
}

/** How long and how often a server is asked. */
export interface S3Patience {
  /** Requests until it is given up. */
  tries: number;
  /** Before the second request, in ms; doubled before each further one. */
  wait: number;
  /** How long a server may be silent, in ms. */
  silence: number;
}

/** About eight seconds of waiting: what a server's restart takes. */
const PATIENCE: S3Patience = { tries: 6, wait: 250, silence: 30_000 };
/** An upload is given a ms for each so many bytes. */
const SLOWEST = 64;
/** More of a server's error is not read, in bytes, nor shown, in letters. */
const MOST_ERROR = 64 * 1024;
const MOST_MESSAGE = 200;
/** An object that is put and read at the start, so that a wrong key or bucket is told then. */
const PROBE = Buffer.from('polyvisor\n');

/** Statuses that pass: too many requests, conflicts of two writers, the server's own trouble. */
const passes = (answer: number) => answer === 408 || answer === 409 || answer === 429 || answer >= 500;
const NO_ROOM = /Quota|StorageFull|InsufficientStorage/;
const BAD_KEY = /^(InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|ExpiredToken|TokenRefreshRequired)$/;
/** The bytes that arrived were not those that were sent. */
const DAMAGED = /^(BadDigest|XAmzContentSHA256Mismatch|IncompleteBody|RequestTimeout)$/;

/** Names of buckets and prefixes that need no escapes in a URL. */
const PLACE = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:\/[\w.-]+)*)\/?$/;

/**
 * @param text `s3://BUCKET[/PREFIX]`
 * @param env the variables that AWS' own programs know: endpoint, region and keys
 * @throws Failure
 */
export function parseS3(text: string, env: NodeJS.ProcessEnv): S3Place {
  const [, bucket, prefix] = PLACE.exec(text) ?? [];
  if (bucket === undefined || prefix === undefined || /\/\.{1,2}(\/|$)/.test(prefix))
    throw new Failure(
      `--store ${text}: s3://BUCKET[/PREFIX], the bucket of 3 to 63 small letters, digits, "." and "-", the prefix of letters, digits, "_", ".", "-" and "/"`,
    );
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = env;
  if (!accessKeyId || !secretAccessKey)
    throw new Failure(
      `--store ${text}: set ${accessKeyId ? '' : 'AWS_ACCESS_KEY_ID and '}AWS_SECRET_ACCESS_KEY to the key for the bucket`,
    );
  const region = env.AWS_REGION || env.AWS_DEFAULT_REGION || 'us-east-1';
  const variable = env.AWS_ENDPOINT_URL_S3 ? 'AWS_ENDPOINT_URL_S3' : 'AWS_ENDPOINT_URL';
  const endpoint = env[variable];
  const url = endpoint ? parseEndpoint(variable, endpoint) : amazon(bucket, region);
  return {
    name: text.replace(/\/$/, ''),
    bucket,
    server: url.origin,
    // Other servers seldom have a host name for each bucket.
    base: `${url.href.replace(/\/+$/, '')}${endpoint ? `/${bucket}` : ''}${prefix}`,
    region,
    accessKeyId,
    secretAccessKey,
    sessionToken: env.AWS_SESSION_TOKEN || undefined,
  };
}

function parseEndpoint(variable: string, text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password || url.search || url.hash)
    throw new Failure(`${variable}: must be a server's address, such as https://s3.example:9000, without a key in it`);
  return url;
}

/** S3 User Guide, "Virtual hosting of buckets". */
function amazon(bucket: string, region: string): URL {
  if (!/^[a-z0-9-]+$/.test(region)) throw new Failure(`AWS_REGION=${region}: is no name of a region`);
  return new URL(`https://${bucket}.s3.${region}.amazonaws.com`);
}

/** @throws Failure where the bucket cannot be read and written with this key, or the server does not answer */
export async function openS3Store(place: S3Place, patience: S3Patience = PATIENCE): Promise<Store> {
  const { AwsClient } = (await loadPeer('--store s3://…', 'aws4fetch', 1)) as Aws;
  const { accessKeyId, secretAccessKey, sessionToken, region } = place;
  const signer = new AwsClient({ accessKeyId, secretAccessKey, sessionToken, region, service: 's3' });
  const bucket = new Bucket(place, patience, signer);
  await bucket.write(digest(PROBE), PROBE);
  if (!(await bucket.get(digest(PROBE))))
    throw new Failure(
      `--store ${place.name}: ${place.server} does not give back what was put into it: is it a server of S3's API?`,
      status.unavailable,
    );
  return bucket;
}

interface Answer {
  status: number;
  headers: Headers;
  bytes: Buffer;
  /** Of an error: S3's word for it, and its sentence. Empty where there are none. */
  code: string;
  message: string;
}

class Bucket implements Store {
  readonly #place: S3Place;
  readonly #patience: S3Patience;
  readonly #signer: Signer;

  constructor(place: S3Place, patience: S3Patience, signer: Signer) {
    this.#place = place;
    this.#patience = patience;
    this.#signer = signer;
  }

  async put(bytes: Uint8Array): Promise<string> {
    const name = digest(bytes);
    // An error of HEAD has no body and says little, so PUT finds out what is wrong.
    const found = await this.#ask('HEAD', name);
    if (found.status !== 200 || found.headers.get('content-length') !== `${bytes.length}`)
      await this.write(name, bytes);
    return name;
  }

  /** Puts the object whether or not it is there. */
  async write(name: string, bytes: Uint8Array): Promise<void> {
    const answer = await this.#ask('PUT', name, bytes);
    if (answer.status !== 200) throw this.#refusal(answer);
  }

  async get(name: string): Promise<Buffer | undefined> {
    // Damaged on the way, it is whole the second time.
    for (let time = 0; time < 2; time++) {
      const answer = await this.#ask('GET', name);
      if (answer.code === 'NoSuchKey') return undefined;
      if (answer.status !== 200) throw this.#refusal(answer);
      if (digest(answer.bytes) === name) return answer.bytes;
    }
    const answer = await this.#ask('DELETE', name);
    if (answer.status >= 300 && answer.code !== 'NoSuchKey') throw this.#refusal(answer);
    return undefined;
  }

  /** Asks until there is an answer that would not be another one a moment later. @throws Failure */
  async #ask(method: string, name: string, body?: Uint8Array): Promise<Answer> {
    const { tries, wait } = this.#patience;
    for (let time = 1; ; time++) {
      let why: string;
      try {
        const answer = await this.#askOnce(method, name, body);
        const full = answer.status === 507 || NO_ROOM.test(answer.code);
        if (full || !(passes(answer.status) || DAMAGED.test(answer.code))) return answer;
        why = `answers ${inWords(answer)}`;
      } catch (error) {
        if (error instanceof Failure) throw error;
        why = `does not answer: ${reasonOf(error)}`;
      }
      if (time >= tries) {
        const { name: store, server } = this.#place;
        throw new Failure(`--store ${store}: ${server} ${why} (tried ${tries} times)`, status.unavailable);
      }
      // Workers that fail together do not come again together.
      const delay = wait * 2 ** (time - 1) * (0.75 + Math.random() / 2);
      await new Promise(resolve => setTimeout(resolve, delay));
    }
  }

  async #askOnce(method: string, name: string, body: Uint8Array | undefined): Promise<Answer> {
    const { silence } = this.#patience;
    const control = new AbortController();
    const timer = new Deadline(control);
    try {
      timer.set(silence + (body?.length ?? 0) / SLOWEST);
      const request = await this.#signer.sign(`${this.#place.base}/${name}`, {
        method,
        // The server checks what arrives by it.
        headers: { 'x-amz-content-sha256': body ? name : digest(new Uint8Array()) },
        ...(body && { body }),
        redirect: 'manual',
        signal: control.signal,
      });
      const response = await fetch(request);
      const bytes = await readBody(response, response.status === 200 ? MOST_INPUT : MOST_ERROR, () =>
        timer.set(silence),
      );
      const error = response.status >= 300 ? bytes.toString('utf8') : '';
      const { status, headers } = response;
      return { status, headers, bytes, code: element(error, 'Code'), message: element(error, 'Message') };
    } finally {
      timer.clear();
      control.abort();
    }
  }

  #refusal(answer: Answer): Failure {
    const { name, bucket, server, region } = this.#place;
    const { code, status: number } = answer;
    const said = inWords(answer);
    const say = (what: string, exitStatus: number = status.unavailable) =>
      new Failure(`--store ${name}: ${what}`, exitStatus);
    if (number === 507 || NO_ROOM.test(code)) return say(`${server} has no more room: ${said}`, status.output);
    if (code === 'NoSuchBucket') return say(`${server} has no bucket ${bucket}: create it, or name another one`);
    if (BAD_KEY.test(code))
      return say(`${server} refuses the key: ${said}: look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY`);
    if (code === 'RequestTimeTooSkewed') return say(`${server} has another time: ${said}: set this machine's clock`);
    if ((number >= 300 && number < 400) || code === 'AuthorizationHeaderMalformed') {
      const other = visibleLine(answer.headers.get('x-amz-bucket-region') ?? 'another region');
      return say(`the bucket is in ${other}, and AWS_REGION is ${region}: ${said}`);
    }
    if (number === 401 || number === 403)
      return say(`${server} refuses: ${said}: the key must allow GetObject, PutObject and DeleteObject there`);
    return say(`${server} answers ${said}`);
  }
}

/** Ends a request after a time that can be set anew. */
class Deadline {
  readonly #control: AbortController;
  #timer: NodeJS.Timeout | undefined;

  constructor(control: AbortController) {
    this.#control = control;
  }

  /** @param time in ms, from now */
  set(time: number): void {
    clearTimeout(this.#timer);
    const seconds = Math.ceil(time / 1000);
    this.#timer = setTimeout(() => this.#control.abort(new Error(`silent for ${seconds} seconds`)), time);
  }

  clear(): void {
    clearTimeout(this.#timer);
  }
}

/** At most `most` bytes; `heard` is called at each piece. */
async function readBody(response: Response, most: number, heard: () => void): Promise<Buffer> {
  heard();
  const pieces: Uint8Array[] = [];
  let total = 0;
  for await (const piece of response.body ?? []) {
    heard();
    pieces.push(piece.subarray(0, most - total));
    total += piece.length;
    if (total >= most) break;
  }
  return Buffer.concat(pieces);
}

const ENTITIES: ReadonlyMap<string, string> = new Map(
  Object.entries({ lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' }),
);

/** The text of the first element of that name in S3's XML. */
function element(xml: string, name: string): string {
  const [, text = ''] = RegExp(`<${name}>([^<]*)</${name}>`).exec(xml) ?? [];
  return visibleLine(text.replace(/&(\w+);/g, (whole, entity: string) => ENTITIES.get(entity) ?? whole)).slice(
    0,
    MOST_MESSAGE,
  );
}

const inWords = ({ status, code, message }: Answer) => [code || `status ${status}`, message].filter(Boolean).join(': ');

/** fetch itself says only that it failed. */
function reasonOf(error: unknown): string {
  const { message, cause } = error as Error;
  // Several addresses of a name, each with its refusal, have a code and no message.
  const { message: inner, code } = (cause ?? {}) as NodeJS.ErrnoException;
  return visibleLine(inner || code || message);
}
