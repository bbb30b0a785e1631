/** One end of a channel between threads: a Worker, a Worker's own scope, or a MessagePort, as far as all hosts have them alike. */
export interface RemotePort {
  postMessage(message: unknown, transfer: object[]): void;
  addEventListener(type: 'message', listener: (event: { data: unknown }) => void): void;
}
