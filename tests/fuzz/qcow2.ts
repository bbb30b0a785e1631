/**
 * qcow2 images with a few bytes changed, before they are opened and while they are used. An image is refused with a word on what is
 * wrong with it, or does something; what is not an error of the image's or of a disk that is full is a mistake of ours.
 */
import { ImageError } from '../../src/boot/image-error.ts';
import { memoryDisk } from '../../src/devices/memory-disk.ts';
import { Qcow2Disk } from '../../src/qcow2/qcow2-disk.ts';
import { emptyImage, type ImageShape, memoryImage } from '../../src/qcow2/testing.ts';
import { caseFuzzer, type Fuzzer, type Random } from './fuzzer.ts';

const STEPS = 60;
const SIZE = 1 << 18;
/** Errors of a host's disk that is full, and of an image that cannot grow. */
const FULL = /no space left on device|cannot become larger/;

interface Input {
  shape: ImageShape;
  /** Numbers that say what is done: a write, a read, a discard, or a change of the file. */
  steps: readonly (readonly number[])[];
}

const VALUES = [0, 1, 2, 4, 7, 8, 16, 63, 64, 127, 128, 192, 255];

function makeStep(random: Random): number[] {
  return [random.below(10), random.below(1 << 16), random.of([1, 1, 2, 5, 40]), random.of(VALUES), random.below(8)];
}

/** @returns what is wrong */
function expected(work: () => void): string | undefined {
  try {
    work();
  } catch (error) {
    const isKnown = error instanceof ImageError || (error instanceof Error && FULL.test(error.message));
    if (!isKnown) return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
  return undefined;
}

function judge({ shape, steps }: Input): string | undefined {
  const image = memoryImage(emptyImage(shape), 1 << 22);
  const backing = shape.backing && memoryDisk('under', SIZE / 2);
  let disk: Qcow2Disk | undefined;
  const open = () => {
    disk = undefined;
    return expected(() => void (disk = new Qcow2Disk(image, { backing })));
  };
  let wrong = open();
  for (const [what, place, sectors, value, near] of steps) {
    // Rather a byte of a header or a table, which stand in front, than one of the data.
    const at = what === 0 ? place % 128 : ((place % 24) << shape.clusterBits) + near;
    if (what < 2) image.write(at % image.size, Uint8Array.of(value));
    if (what < 4) wrong ??= open();
    const length = 512 * sectors;
    const offset = (512 * place) % Math.max(512, Math.min(SIZE, disk?.size ?? SIZE) - length);
    if (!disk || length > disk.size) continue;
    if (what === 4) wrong ??= expected(() => disk!.discard(offset, length));
    else if (what === 5) wrong ??= expected(() => disk!.read(offset, new Uint8Array(length)));
    else wrong ??= expected(() => disk!.write(offset, new Uint8Array(length).fill(value)));
    if (wrong !== undefined) return wrong;
  }
  return wrong;
}

export const qcow2: Fuzzer = caseFuzzer<Input>({
  name: 'qcow2',
  description: `qcow2 images with bytes changed, and ${STEPS} uses of each`,
  make: random => {
    const version = random.of([2, 3] as const);
    return {
      shape: {
        ...{ version, clusterBits: random.of([9, 9, 12]), size: SIZE },
        refcountOrder: version === 2 ? 4 : random.below(7),
        ...(random.below(2) && { backing: { path: 'under', format: 'raw' } }),
      },
      steps: Array.from({ length: STEPS }, () => makeStep(random)),
    };
  },
  judge,
  *smaller({ shape, steps }) {
    for (let size = steps.length >> 1; size >= 1; size >>= 1)
      for (let at = 0; at + size <= steps.length; at += size)
        yield { shape, steps: [...steps.slice(0, at), ...steps.slice(at + size)] };
  },
  show: ({ shape, steps }) => `${JSON.stringify(shape)}\n${steps.map(step => step.join(' ')).join('\n')}`,
});
