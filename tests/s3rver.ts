/** For tests: s3rver, a server of S3's API from npm, and which packages beside ours are here. */
import { existsSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { root } from './command.ts';

/** Why a test must be skipped, or false. */
export const without = (...names: string[]): string | false => {
  const missing = names.filter(name => !existsSync(join(root, 'node_modules', name)));
  return missing.length > 0 && `not installed: npm install --no-save --save-prod ${missing.join(' ')}`;
};

export interface S3rver {
  /** What tells a client of it, and the only key that it knows. It does not check signatures of version 4. */
  env: Record<string, string>;
  close(): Promise<void>;
}

/** Its own interface, as far as it is used. */
interface Server {
  run(): Promise<AddressInfo>;
  close(): Promise<void>;
}

/** Starts one with a bucket, its objects in `directory`. */
export async function startS3rver(directory: string, bucket: string): Promise<S3rver> {
  const packageName: string = 's3rver';
  const { default: Class } = (await import(packageName)) as { default: new (options: object) => Server };
  const place = { address: '127.0.0.1', port: 0, directory };
  const server = new Class({ ...place, silent: true, configureBuckets: [{ name: bucket }] });
  const { port } = await server.run();
  const key = { AWS_ACCESS_KEY_ID: 'S3RVER', AWS_SECRET_ACCESS_KEY: 'S3RVER' };
  return { env: { AWS_ENDPOINT_URL: `http://127.0.0.1:${port}`, ...key }, close: () => server.close() };
}
