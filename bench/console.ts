/** Takes times from a machine's console: by the host's clock, from the start of the process, whoever the peer is. */
import { spawn } from 'node:child_process';

export interface Marks {
  /** Seconds from the process's start until the console first showed the text. */
  [name: string]: number;
}

export interface Peer {
  name: string;
  command: string;
  args: readonly string[];
}

/**
 * Starts `peer`, waits until its console has shown every text of `marks`, and ends it.
 * @param limit seconds
 * @throws Error with the console's end if a mark does not come.
 */
export function timeToMarks(peer: Peer, marks: Readonly<Record<string, RegExp>>, limit: number): Promise<Marks> {
  return new Promise((resolve, reject) => {
    const times: Marks = {};
    const start = performance.now();
    const child = spawn(peer.command, peer.args, { stdio: ['pipe', 'pipe', 'pipe'] });
    let console = '';
    const finish = (why?: string) => {
      clearTimeout(timer);
      child.removeAllListeners();
      child.on('close', () =>
        why
          ? reject(new Error(`${peer.name}: ${why}; its console ended with\n${console.slice(-2000)}`))
          : resolve(times),
      );
      if (child.exitCode !== null) child.emit('close');
      else child.kill('SIGKILL');
    };
    const timer = setTimeout(() => finish(`no ${missing().join(', ')} after ${limit} s`), limit * 1000);
    const missing = () => Object.keys(marks).filter(name => !(name in times));
    child.on('error', error => finish(error.message));
    child.on('exit', status => finish(`ended with ${status} before ${missing().join(', ')}`));
    child.stderr.on('data', (data: Buffer) => (console += data.toString('latin1')));
    child.stdout.on('data', (data: Buffer) => {
      const now = (performance.now() - start) / 1000;
      console += data.toString('latin1');
      for (const name of missing()) if (marks[name].test(console)) times[name] = now;
      if (missing().length === 0) finish();
    });
  });
}
