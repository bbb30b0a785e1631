/** The thread that translates for a machine. */
import { type RemotePort, serveTranslator } from '../src/host/browser/index.ts';

serveTranslator(globalThis as unknown as RemotePort);
