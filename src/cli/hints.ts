/** What somebody may have meant whose words the command line does not know: a near name, or QEMU's word for one of ours. */
import type { Command } from 'commander';
import { nearest } from './nearest.ts';

/** QEMU's options (qemu(1)) by what they are here; undefined: there is nothing of the kind, or no need of it. */
const OF_QEMU: ReadonlyMap<string, string | undefined> = new Map([
  ['-kernel', '--kernel FILE'],
  ['-initrd', '--initrd FILE'],
  ['-append', '--append TEXT, which adds to what the hypervisor needs; --command-line TEXT is the whole'],
  ['-smp', '--cpus N'],
  ['-hda', '--disk FILE'],
  ['-drive', '--disk FILE'],
  ['-cdrom', '--disk FILE,ro'],
  ['-netdev', '--net user, and --forward HOSTPORT:GUESTPORT'],
  ['-nic', '--net user, and --forward HOSTPORT:GUESTPORT'],
  ['-gdb', '--gdb [HOST:]PORT'],
  ['-virtfs', '--share FOLDER'],
  ['-cpu', undefined],
  ['-machine', undefined],
  ['-nographic', undefined],
  ['-serial', undefined],
  ['-display', undefined],
  ['-no-reboot', undefined],
  ['-accel', undefined],
]);

/** What to say of the first of `words` that is QEMU's; undefined if none is. Values of options are passed over. */
export function qemuHint(command: Command, words: readonly string[]): string | undefined {
  for (const [index, word] of words.entries()) {
    if (!OF_QEMU.has(word) || takesValue(command, words[index - 1])) continue;
    const ours = OF_QEMU.get(word);
    return `${word} is an option of QEMU's: ${ours === undefined ? 'leave it out' : `here it is ${ours}`}`;
  }
  return undefined;
}

function takesValue(command: Command, word: string | undefined): boolean {
  return command.options.some(option => option.required && (option.long === word || option.short === word));
}

/** `message`, a complaint of commander's, with the option or command that may have been meant. */
export function withSuggestion(command: Command, message: string): string {
  const [, kind, word] = /^error: unknown (option|command) '([^']*)'/.exec(message) ?? [];
  if (word === undefined) return message;
  const dashes = kind === 'option' ? '--' : '';
  const names =
    kind === 'option'
      ? command.options.flatMap(({ long }) => (long ? [long.slice(2)] : []))
      : command.commands.map(each => each.name());
  const [name] = word.replace(/^--?/, '').split('=');
  const meant = nearest(name, names);
  return meant === undefined ? message : `${message.trimEnd()}: did you mean ${dashes}${meant}?\n`;
}
