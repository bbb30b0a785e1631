/** What a browser gives a machine: `import { … } from 'polyvisor/browser'`. */

export { createRemoteMachine, type RemoteListener, type RemoteMachine } from '../../remote/client.ts';
export type { RemoteOptions } from '../../remote/machine-protocol.ts';
export type { RemotePort } from '../../remote/port.ts';
export { type RemoteHost, serveMachine } from '../../remote/server.ts';
export { openBrowserCache } from './artifact-cache.ts';
export type { BrowserBlob, BrowserWorker, SyncAccessHandle } from './browser.ts';
export { browserClock } from './clock.ts';
export { browserCompression } from './compression.ts';
export { type TerminalLike, terminalConsole } from './console.ts';
export { blobDisk, opfsDisk } from './disks.ts';
export { createPageSwitch, type FramePort, portNetwork } from './network.ts';
export { serveTranslator } from './serve-translator.ts';
export { browserTranslator } from './translator.ts';
