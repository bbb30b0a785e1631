/**
 * A switch: machines whose networks are its ports exchange frames. It learns where MAC addresses are, as switches do; a frame for
 * nobody known goes everywhere.
 */
import type { Network, NetworkPort, Offload } from '../host/network.ts';
import { formatMac } from './addresses.ts';

/** MAC addresses that are remembered. */
const MOST_ADDRESSES = 1024;

/** One end of a cable to a switch. */
export interface SwitchPort {
  /** A frame comes in here. */
  send(frame: Uint8Array, offload?: Offload): void;
  remove(): void;
}

export interface Switch {
  /** A network for one machine. @param name unlike those of its others */
  port(name: string): Network;
  /** A port for anything else. @param take takes frames that go out here; the array is shared: it stays as it is */
  plug(take: (frame: Uint8Array, offload?: Offload) => void): SwitchPort;
}

export function createSwitch(): Switch {
  const ports = new Set<(frame: Uint8Array, offload?: Offload) => void>();
  const known = new Map<string, (frame: Uint8Array, offload?: Offload) => void>();
  const plug: Switch['plug'] = take => {
    ports.add(take);
    return {
      send(frame, offload) {
        if (frame.length < 14) return;
        if (!(frame[6] & 1)) {
          const source = formatMac(frame.subarray(6, 12));
          if (known.size >= MOST_ADDRESSES) known.delete(known.keys().next().value!);
          known.set(source, take);
        }
        const target = frame[0] & 1 ? undefined : known.get(formatMac(frame.subarray(0, 6)));
        if (target && ports.has(target)) {
          if (target !== take) target(frame, offload);
        } else for (const other of ports) if (other !== take) other(frame, offload);
      },
      remove: () => void ports.delete(take),
    };
  };
  return {
    plug,
    port(name) {
      let cable: SwitchPort | undefined;
      return {
        name,
        offloads: true,
        connect(port: NetworkPort) {
          // Each machine gets a copy: what a device completes, it completes in place.
          cable = plug((frame, offload) => port.receive(frame.slice(), offload));
        },
        send: (frame, offload) => cable?.send(frame, offload),
        close: () => cable?.remove(),
      };
    },
  };
}
