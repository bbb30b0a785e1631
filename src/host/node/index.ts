/** What Node.js gives a machine: `import { … } from 'polyvisor/node'`. */
export { diskCache } from './artifact-cache.ts';
export { nodeClock } from './clock.ts';
export { nodeCompression } from './compression.ts';
export type { TerminalConsole } from './console-terminal.ts';
export { createTerminalConsole } from './console-terminal.ts';
export { type DiskFileOptions, openDiskFile } from './disk-file.ts';
export { DiskInUseError } from './disk-lock.ts';
export type { Guest, GuestOptions, GuestProgress } from './guest.ts';
export { ensureGuest } from './guest.ts';
export { loadHypervisor } from './load-hypervisor.ts';
export { openQcow2File, type Qcow2FileOptions } from './qcow2-file.ts';
export { type SerialSocket, serialSocket } from './serial-socket.ts';
export { nodeSockets } from './sockets.ts';
export { joinSwitch } from './switch-socket.ts';
export { workerTranslator } from './translator.ts';
export { PathInUseError } from './unix-listener.ts';
export { VsockInUseError, vsockPrograms } from './vsock-socket.ts';
