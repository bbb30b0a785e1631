/** A network between machines of one page: each is in a worker of its own, at one end of a MessageChannel; the page is the switch. */
import { createSwitch } from '../../net/switch.ts';
import type { RemotePort } from '../../remote/port.ts';
import type { Network, NetworkPort } from '../network.ts';

/** Longer ones are no frames of ours: without offloads a frame is 1514 bytes long at most. */
const LARGEST_FRAME = 1514;

/** A MessagePort. */
export interface FramePort extends RemotePort {
  start?(): void;
  close?(): void;
}

const frameOf = (data: unknown) =>
  data instanceof Uint8Array && data.length <= LARGEST_FRAME ? (data as Uint8Array<ArrayBuffer>) : undefined;

/** For the machine's thread: a network at whose other end is `createPageSwitch`. */
export function portNetwork(name: string, port: FramePort): Network {
  return {
    name,
    connect({ receive }: NetworkPort) {
      port.addEventListener('message', ({ data }) => {
        const frame = frameOf(data);
        if (frame) receive(frame);
      });
      port.start?.();
    },
    send(frame) {
      const copy = frame.slice();
      port.postMessage(copy, [copy.buffer]);
    },
    close: () => port.close?.(),
  };
}

/** For the page: a switch. @returns what plugs a machine in */
export function createPageSwitch(): (port: FramePort) => void {
  const hub = createSwitch();
  return port => {
    // What goes to several ports is copied by each.
    const plug = hub.plug(frame => port.postMessage(frame, []));
    port.addEventListener('message', ({ data }) => {
      const frame = frameOf(data);
      if (frame) plug.send(frame);
    });
    port.start?.();
  };
}
