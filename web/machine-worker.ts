/** The thread of a machine. */
import {
  type BrowserBlob,
  type BrowserWorker,
  blobDisk,
  browserClock,
  browserCompression,
  browserTranslator,
  type FramePort,
  openBrowserCache,
  portNetwork,
  type RemotePort,
  serveMachine,
} from '../src/host/browser/index.ts';

/** What the page sends besides the options of the machine. */
export interface Extras {
  /** The address of the translator's script. */
  translator: string;
  disks: { name: string; file: BrowserBlob }[];
  /** The end of a cable. */
  cable: FramePort | undefined;
}

serveMachine(globalThis as unknown as RemotePort, async given => {
  const { translator, disks, cable } = given as Extras;
  const start = () => new Worker(translator, { type: 'module' }) as BrowserWorker;
  return {
    clock: browserClock,
    compression: browserCompression,
    // With one processor it could only take time from the guest.
    translator: navigator.hardwareConcurrency > 1 ? browserTranslator(start) : undefined,
    // The script's name has the hash of all code in it.
    cache: await openBrowserCache(new URL(import.meta.url).pathname.split('/').at(-1)!),
    backEnds: {
      disks: disks.map(({ name, file }) => blobDisk(name, file)),
      networks: cable ? [portNetwork('cable', cable)] : [],
    },
  };
});
