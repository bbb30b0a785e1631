/** What passes a network, as a capture file (pcapng, draft-ietf-opsawg-pcapng): complete frames, with the guest's time. */
import type { Clock } from '../host/clock.ts';
import type { Network, Offload } from '../host/network.ts';
import { complete } from './offload.ts';

const SECTION_HEADER = 0x0a0d0d0a;
const BYTE_ORDER = 0x1a2b3c4d;
const INTERFACE_DESCRIPTION = 1;
const ENHANCED_PACKET = 6;
const LINKTYPE_ETHERNET = 1;
/** Options: the end, an interface's name, the resolution of its times, flags of a packet with its direction. */
const END = 0;
const IF_NAME = 2;
const IF_TSRESOL = 9;
const EPB_FLAGS = 2;
const NANOSECONDS = 9;
const INBOUND = 1;
const OUTBOUND = 2;

/** `network`, with a copy of all that passes given to `write`. The first piece is the file's beginning. */
export function captured(network: Network, write: (bytes: Uint8Array) => void): Network {
  write(block(SECTION_HEADER, [u32(BYTE_ORDER), u16(1), u16(0), u32(0xffffffff), u32(0xffffffff)]));
  write(
    block(INTERFACE_DESCRIPTION, [
      u16(LINKTYPE_ETHERNET),
      u16(0),
      u32(0),
      option(IF_NAME, new TextEncoder().encode(network.name)),
      option(IF_TSRESOL, Uint8Array.of(NANOSECONDS)),
      option(END, new Uint8Array(0)),
    ]),
  );
  let clock: Clock | undefined;
  const note = (frame: Uint8Array, offload: Offload | undefined, direction: number) => {
    const time = (clock?.epoch ?? 0n) + BigInt(Math.floor(clock?.now() ?? 0));
    for (const each of complete(offload ? frame.slice() : frame, offload))
      write(
        block(ENHANCED_PACKET, [
          u32(0),
          u32(Number(time >> 32n)),
          u32(Number(time & 0xffffffffn)),
          u32(each.length),
          u32(each.length),
          padded(each),
          option(EPB_FLAGS, u32(direction)),
          option(END, new Uint8Array(0)),
        ]),
      );
  };
  return {
    name: network.name,
    bus: network.bus,
    optional: network.optional ?? false,
    ...(network.mac && { mac: network.mac }),
    offloads: network.offloads ?? false,
    connect(port) {
      clock = port.clock;
      network.connect({
        clock: port.clock,
        log: port.log,
        receive(frame, offload) {
          note(frame, offload, INBOUND);
          port.receive(frame, offload);
        },
      });
    },
    send(frame, offload) {
      note(frame, offload, OUTBOUND);
      network.send(frame, offload);
    },
    get awaits() {
      return network.awaits ?? true;
    },
    get guestAddresses() {
      return network.guestAddresses ?? [];
    },
    close: () => network.close?.(),
  };
}

function block(type: number, parts: readonly Uint8Array[]): Uint8Array {
  const length = 12 + parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, length, true);
  let at = 8;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  view.setUint32(at, length, true);
  return bytes;
}

function option(code: number, value: Uint8Array): Uint8Array {
  const body = padded(value);
  const bytes = new Uint8Array(4 + body.length);
  bytes.set(u16(code));
  bytes.set(u16(value.length), 2);
  bytes.set(body, 4);
  return bytes;
}

function padded(bytes: Uint8Array): Uint8Array {
  const whole = new Uint8Array((bytes.length + 3) & ~3);
  whole.set(bytes);
  return whole;
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, value >>> 8);
}

function u32(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24);
}
