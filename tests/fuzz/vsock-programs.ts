/** The other ends of a hostile guest's sockets. */
import type { TcpHandler, TcpSocket } from '../../src/host/sockets.ts';
import type { VsockPrograms } from '../../src/host/vsock.ts';

/** Programs of the host's that do what numbers say: all within one case, since each begins anew. */
export function vsockFuzzPrograms(): VsockPrograms & { act(numbers: readonly number[]): void } {
  let handlers: TcpHandler[] = [];
  let accept: Parameters<VsockPrograms['attach']>[0] | undefined;
  let pending = 0;
  const socket: TcpSocket = {
    write() {},
    get pending() {
      return pending;
    },
    end() {},
    pause() {},
    resume() {},
    reset() {},
  };
  return {
    open(_port, handler) {
      handlers.push(handler);
      return socket;
    },
    attach(given) {
      accept = given;
      handlers = [];
      pending = 0;
    },
    close() {},
    act([what, which, size]) {
      const handler = handlers[which % Math.max(1, handlers.length)];
      if (what % 8 === 0 && accept) handlers.push(accept(which % 8, socket, () => {}));
      else if (what % 8 === 1) pending = size * 64;
      else if (what % 8 === 2) handler?.connected?.();
      else if (what % 8 === 3) handler?.ended();
      else if (what % 8 === 4) handler?.drained();
      else if (what % 16 === 5) handler?.closed(which % 2 ? 'reset' : undefined);
      else handler?.data(new Uint8Array(size % 70_000));
    },
  };
}
