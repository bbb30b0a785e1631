/** `--serial`: what the second serial port is joined to, with what goes wrong said by its option. */
import { writeSync } from 'node:fs';
import type { Console } from '../host/console.ts';
import { serialSocket } from '../host/node/serial-socket.ts';
import { PathInUseError } from '../host/node/unix-listener.ts';
import { status } from './exit-status.ts';
import { Failure, withFile } from './failure.ts';
import { openOutput } from './output-file.ts';
import type { SerialOption } from './values.ts';

/** A file is made anew, as by every option that writes one. @throws Failure */
export async function openSerial({ kind, path }: SerialOption): Promise<Console> {
  if (kind === 'unix') return openSocket(path);
  const name = `--serial ${path}`;
  const file = openOutput(path, 'w', name);
  return {
    // A file that cannot be written any more ends the run: nobody would look for what is missing in it.
    write: data => {
      withFile(name, status.output, () => {
        for (let at = 0; at < data.length; ) at += writeSync(file, data, at);
      });
    },
    onInput() {},
  };
}

async function openSocket(path: string): Promise<Console> {
  try {
    return await serialSocket(path);
  } catch (error) {
    const isInUse = error instanceof PathInUseError;
    throw new Failure(
      `--serial unix:${isInUse ? '' : `${path}: `}${(error as Error).message}`,
      isInUse ? status.inUse : status.output,
    );
  }
}
