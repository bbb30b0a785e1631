/** A DHCP server (RFC 2131, RFC 2132) for the guests of one network: an address each, by MAC address, for as long as the machine lives. */
import { equal, formatAddress, formatMac } from './addresses.ts';
import { long, setLong, setWord } from './packet.ts';
import { FIRST_GUEST, GATEWAY, NAME_SERVER, NETMASK } from './station.ts';

export const DHCP_SERVER_PORT = 67;
export const DHCP_CLIENT_PORT = 68;

const BOOTREQUEST = 1;
const BOOTREPLY = 2;
const MAGIC = 0x63825363;
const OPTIONS_AT = 240;
/** What a BOOTP client may expect (RFC 1542, 2.1). */
const LEAST_SIZE = 300;
const LEASE_SECONDS = 86400;
/** Addresses to give away. */
const MOST_LEASES = 16;

/** Options (RFC 2132). */
const OPTION = { mask: 1, router: 3, nameServer: 6, requested: 50, lease: 51, type: 53, server: 54, end: 255 } as const;
/** Values of the option `type`. */
const DISCOVER = 1;
const OFFER = 2;
const REQUEST = 3;
const DECLINE = 4;
const ACK = 5;
const NAK = 6;
const RELEASE = 7;
const INFORM = 8;

export class DhcpServer {
  /** Which MAC address has the address at an index, from FIRST_GUEST on. */
  readonly #leases: (string | undefined)[] = new Array<undefined>(MOST_LEASES).fill(undefined);
  readonly #hasRouter: boolean;

  /** @param hasRouter false where nothing outside of the network can be reached: then no router is named */
  constructor(hasRouter: boolean) {
    this.#hasRouter = hasRouter;
  }

  /** The answer to a client's message, as the payload of a datagram to the broadcast address; undefined if there is none. */
  answer(request: Uint8Array): Uint8Array | undefined {
    if (request.length < OPTIONS_AT || request[0] !== BOOTREQUEST || request[1] !== 1 || request[2] !== 6)
      return undefined;
    const mac = formatMac(request.subarray(28, 34));
    const options =
      long(request, 236) === MAGIC ? parseOptions(request.subarray(OPTIONS_AT)) : new Map<number, Uint8Array>();
    const type = options.get(OPTION.type)?.[0];
    const server = options.get(OPTION.server);
    const forUs = !server || equal(server, GATEWAY);
    const wanted = options.get(OPTION.requested) ?? request.subarray(12, 16);
    switch (type) {
      case DISCOVER: {
        const address = this.#lease(mac, wanted);
        return address && reply(request, OFFER, address, this.#hasRouter);
      }
      case REQUEST:
      case undefined: {
        if (!forUs) return undefined;
        const address = this.#lease(mac, wanted);
        if (!address) return undefined;
        const isNone = wanted.length !== 4 || long(wanted, 0) === 0;
        if (!isNone && !equal(wanted, address)) return reply(request, NAK, new Uint8Array(4), this.#hasRouter);
        return reply(request, type === undefined ? undefined : ACK, address, this.#hasRouter);
      }
      case INFORM:
        return reply(request, ACK, new Uint8Array(4), this.#hasRouter);
      case RELEASE:
      case DECLINE: {
        const index = this.#leases.indexOf(mac);
        if (index >= 0) this.#leases[index] = undefined;
        return undefined;
      }
    }
    return undefined;
  }

  /** The client's address: the one it has, the one it wants, the first that is free. Undefined if there is none left. */
  #lease(mac: string, wanted: Uint8Array): Uint8Array | undefined {
    const index = wanted.length === 4 ? wanted[3] - FIRST_GUEST[3] : -1;
    const inRange = index >= 0 && index < MOST_LEASES && equal(wanted.subarray(0, 3), FIRST_GUEST.subarray(0, 3));
    const has = this.#leases.indexOf(mac);
    const free = inRange && this.#leases[index] === undefined ? index : this.#leases.indexOf(undefined);
    const chosen = has >= 0 ? has : free;
    if (chosen < 0) return undefined;
    this.#leases[chosen] = mac;
    const address = FIRST_GUEST.slice();
    address[3] += chosen;
    return address;
  }

  /** The addresses that are given away, in text. */
  get addresses(): string[] {
    return this.#leases.flatMap((mac, index) => {
      const address = FIRST_GUEST.slice();
      address[3] += index;
      return mac === undefined ? [] : [formatAddress(address)];
    });
  }
}

function parseOptions(bytes: Uint8Array): Map<number, Uint8Array> {
  const options = new Map<number, Uint8Array>();
  for (let at = 0; at < bytes.length && bytes[at] !== OPTION.end; ) {
    if (bytes[at] === 0) {
      at++;
      continue;
    }
    const length = bytes[at + 1];
    if (length === undefined || at + 2 + length > bytes.length) break;
    options.set(bytes[at], bytes.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return options;
}

function reply(request: Uint8Array, type: number | undefined, address: Uint8Array, hasRouter: boolean): Uint8Array {
  const bytes = new Uint8Array(548);
  bytes.set([BOOTREPLY, 1, 6, 0]);
  bytes.set(request.subarray(4, 8), 4); // The transaction.
  setWord(bytes, 10, (request[10] << 8) | request[11]);
  bytes.set(request.subarray(12, 16), 12);
  bytes.set(address, 16);
  bytes.set(GATEWAY, 20);
  bytes.set(request.subarray(28, 44), 28);
  setLong(bytes, 236, MAGIC);
  let at = OPTIONS_AT;
  const put = (code: number, value: ArrayLike<number>) => {
    bytes.set([code, value.length], at);
    bytes.set(value, at + 2);
    at += 2 + value.length;
  };
  if (type !== undefined) put(OPTION.type, [type]);
  put(OPTION.server, GATEWAY);
  if (type !== NAK) {
    put(OPTION.mask, NETMASK);
    if (hasRouter) put(OPTION.router, GATEWAY);
    if (hasRouter) put(OPTION.nameServer, NAME_SERVER);
    const lease = new Uint8Array(4);
    setLong(lease, 0, LEASE_SECONDS);
    if (type !== undefined && address.some(byte => byte !== 0)) put(OPTION.lease, lease);
  }
  bytes[at] = OPTION.end;
  return bytes.subarray(0, Math.max(at + 1, LEAST_SIZE));
}
