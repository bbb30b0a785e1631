/**
 * Starts a program of the bundle (bin/bundle.cjs) from code that was compiled before: a thread's program has 1.5 MB of JavaScript,
 * and compiling it is most of what it takes to start one. What V8 has compiled is kept in the cache folder, for a program, its
 * version and that of V8, once a run of it has shown which of its functions are called.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import process from 'node:process';
import { Script } from 'node:vm';
import { createArtifactCache } from './artifact-cache.ts';
import { cacheFolder } from './cache.ts';

/** Of how many versions, and how much of each: one or two files for a program. */
const SHELF = { room: 'code', versions: 2, files: 32 } as const;

/** Where the program that was started finds how to keep its code: it has another copy of this module. */
const KEEP = Symbol.for('polyvisor: keep compiled code');
type Keeper = { [KEEP]?: (() => void) | undefined };

/** A script has no `import()` of its own. */
const importModule = (name: string): Promise<unknown> => import(name);

/**
 * @param folder with `programs.cjs`
 * @param version of that file: others' code is not taken for it
 * @returns what the program exports
 */
export function startProgram(folder: string, program: string, version: string): Promise<unknown> {
  return evaluate(join(folder, 'programs.cjs'), program, version).programs.get(program)!();
}

type Bundle = { programs: ReadonlyMap<string, () => Promise<unknown>> };

function evaluate(file: string, program: string, version: string): Bundle {
  const cache = createArtifactCache(cacheFolder(), () => version, SHELF);
  const name = nameOf(program);
  const kept = cache.load(name);
  const cachedData = kept && refreshed(kept);
  const source = readFileSync(file, 'latin1');
  const options = { filename: file, ...(cachedData && { cachedData }) };
  const script = new Script(`(function(module,exports,require,__filename,importModule){${source}\n})`, options);
  // What this version of V8 has made and does not take will not be taken the next time either.
  if (script.cachedDataRejected) cache.save(name, EMPTY);
  const module = { exports: {} as Bundle };
  script.runInThisContext()(module, module.exports, createRequire(file), file, importModule);
  if (!kept) {
    const keeper = globalThis as Keeper;
    keeper[KEEP] = () => {
      keeper[KEEP] = undefined;
      const header = sample();
      cache.save(name, Uint8Array.of(header.length), header, script.createCachedData());
    };
  }
  return module.exports;
}

const EMPTY = new Uint8Array(0);

/** Code is for one version of V8 with one set of options. */
function nameOf(program: string): string {
  const options = [...process.execArgv, process.env.NODE_OPTIONS ?? ''].join(' ');
  const digest = createHash('sha256').update(options).digest('hex').slice(0, 8);
  return [program, process.versions.v8, process.arch, digest].join('-');
}

/** Bytes of a header, at most: its words are what V8 compares with itself. */
const HEADER = 32;

/** The header of code that V8 compiles now, of a script that is always the same. */
const sample = () => new Uint8Array(new Script('0').createCachedData()).slice(0, HEADER);

/**
 * Brings what was kept up to date: one of the header's words is a hash of V8's flags, of which a running program sets some (how large its heap may
 * grow, when WebAssembly is compiled) that are not about JavaScript. Which word it is shows in the header of a script that is always the same:
 * it came along when the code was kept, and is made again.
 */
function refreshed(kept: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> | undefined {
  if (kept.length === 0) return undefined;
  const data = kept.slice(1 + kept[0]!);
  const words = (bytes: Uint8Array) => new Uint32Array(bytes.slice(0, HEADER).buffer);
  const [then, now, header] = [words(kept.subarray(1, 1 + HEADER)), words(sample()), words(data)];
  data.set(new Uint8Array(header.map((word, at) => (word === then[at] ? now[at]! : word)).buffer));
  return data;
}

/** Keeps this program's code, if there is none of it yet: for whoever has done what he was started for. Takes some 30 ms then. */
export function keepCode(): void {
  (globalThis as Keeper)[KEEP]?.();
}
