/** The order of Debian's versions (deb-version(7)), and of packages that have a version in their names. */

/** Below 0 if `a` is the older one, 0 if they are the same. */
export function compareVersions(a: string, b: string): number {
  const [first, second] = [parts(a), parts(b)];
  return (
    first.epoch - second.epoch ||
    compareParts(first.upstream, second.upstream) ||
    compareParts(first.revision, second.revision)
  );
}

function parts(version: string) {
  const [, epoch = '0', upstream, revision = ''] = /^(?:(\d+):)?(.*?)(?:-([^-]*))?$/.exec(version)!;
  return { epoch: Number(epoch), upstream: upstream!, revision };
}

/** Turn by turn: what is no digit by `weight`, then digits as a number. */
function compareParts(a: string, b: string): number {
  const split = (text: string): string[] => text.match(/\D+|\d+/g) ?? [];
  const [first, second] = [split(a), split(b)];
  // Both begin with what is no digit.
  for (const list of [first, second]) if (/^\d/.test(list[0] ?? '')) list.unshift('');
  for (let index = 0; index < Math.max(first.length, second.length); index++) {
    const [x = '', y = ''] = [first[index], second[index]];
    const difference = index % 2 === 0 ? compareText(x, y) : Number(x || 0) - Number(y || 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Letters before anything else, the end before letters, and a tilde before the end. */
function compareText(a: string, b: string): number {
  const weight = (text: string, index: number) => {
    const letter = text[index];
    if (letter === undefined) return 0;
    if (letter === '~') return -1;
    return /[A-Za-z]/.test(letter) ? letter.charCodeAt(0) : letter.charCodeAt(0) + 256;
  };
  for (let index = 0; index < Math.max(a.length, b.length); index++) {
    const difference = weight(a, index) - weight(b, index);
    if (difference !== 0) return difference;
  }
  return 0;
}
