/** `--net` and `--forward`: what a network is made of. */
import { parseIpv4, parseIpv6 } from '../net/addresses.ts';
import { isOnLink, ON_LINK } from '../net/station.ts';
import type { Forward } from '../net/user-network.ts';
import { Failure } from './failure.ts';

/** What can be sent to the thread that opens it. */
export type NetOption =
  | { kind: 'none' }
  | {
      kind: 'user';
      /** Nobody has asked for it: where there is no card for it, there is none. */
      optional: boolean;
      restrict: boolean;
      hostLoopback: boolean;
      forwards: Forward[];
      dump: string | undefined;
      /** The bus that the card is on; undefined: where guests look first. */
      bus: string | undefined;
    }
  | { kind: 'switch'; name: string; dump: string | undefined; bus: string | undefined };

const HELP = 'user[,restrict][,host=loopback][,bus=NAME], switch=NAME[,bus=NAME] or none';
const SWITCH_NAME = /^[\w.-]{1,64}$/;

/** @throws Failure for what cannot be meant */
export function parseNet(given: string | undefined, forwards: readonly string[], dump: string | undefined): NetOption {
  const text = given ?? 'user';
  const optional = given === undefined && forwards.length === 0 && dump === undefined;
  const [kind, ...all] = text.split(',');
  const bus = all.find(word => word.startsWith('bus='))?.slice('bus='.length);
  const words = all.filter(word => !word.startsWith('bus='));
  if (bus === '' || all.length - words.length > 1) throw new Failure(`--net ${text}: one bus, by its name: ${HELP}`);
  if (kind === 'user') {
    let restrict = false;
    let hostLoopback = false;
    for (const word of words) {
      if (word === 'restrict') restrict = true;
      else if (word === 'host=loopback') hostLoopback = true;
      else throw new Failure(`--net ${text}: unknown word "${word}": ${HELP}`);
    }
    if (restrict && hostLoopback)
      throw new Failure(`--net ${text}: restrict lets the guest reach nothing, the host's loopback address neither`);
    return { kind, optional, restrict, hostLoopback, forwards: parseForwards(forwards), dump, bus };
  }
  if (forwards.length > 0) throw new Failure(`--forward ${forwards[0]}: needs --net user, and not --net ${text}`);
  if (kind.startsWith('switch=') && words.length === 0) {
    const name = kind.slice('switch='.length);
    if (!SWITCH_NAME.test(name))
      throw new Failure(`--net ${text}: a name of letters, digits, dots and dashes, 64 of them at most`);
    return { kind: 'switch', name, dump, bus };
  }
  if (kind !== 'none' || all.length > 0) throw new Failure(`--net ${text}: ${HELP}`);
  if (dump !== undefined) throw new Failure(`--net-dump ${dump}: there is nothing to write with --net none`);
  return { kind };
}

const FORWARD_HELP =
  '[tcp:|udp:][ADDRESS:]HOSTPORT:[GUEST:]GUESTPORT, such as 8080:80, udp:[::1]:5353:53, or [::1]:8080:[::]:80';

function parseForwards(texts: readonly string[]): Forward[] {
  const forwards = texts.map(parseForward);
  for (const [index, { protocol, address, port }] of forwards.entries()) {
    const before = forwards.slice(0, index).find(other => {
      return other.port === port && other.protocol === protocol && other.address === address;
    });
    if (before) throw new Failure(`--forward ${texts[index]}: port ${port} is forwarded already`);
  }
  return forwards;
}

/**
 * The host's own loopback address, unless another is named: whoever wants others to reach the guest says so. The guest's address is DHCP's
 * first one, unless another is named.
 */
function parseForward(text: string): Forward {
  const match = /^(?:(tcp|udp):)?(?:(\[[^\]]*\]|[^:[\]]+):)?(\d{1,5}):(?:(\[[^\]]*\]|[^:[\]]+):)?(\d{1,5})$/.exec(text);
  if (!match) throw new Failure(`--forward ${text}: ${FORWARD_HELP}`);
  const [, protocol = 'tcp', named = '127.0.0.1', port, guestName, guestPort] = match;
  const address = named.startsWith('[') ? named.slice(1, -1) : named;
  if (!(named.startsWith('[') ? parseIpv6(address) : parseIpv4(address)))
    throw new Failure(`--forward ${text}: ${named} is no address: ${FORWARD_HELP}`);
  const guest = guestName?.replace(/^\[|\]$/g, '');
  const guestAddress = guest === undefined ? undefined : (guestName!.startsWith('[') ? parseIpv6 : parseIpv4)(guest);
  if (guest !== undefined && guest !== '::' && !(guestAddress && isOnLink(guestAddress)))
    throw new Failure(
      `--forward ${text}: ${guestName} is no address of the network's: ${ON_LINK}, or [::] for the guest's own`,
    );
  for (const number of [port, guestPort])
    if (Number(number) < 1 || Number(number) > 65535) throw new Failure(`--forward ${text}: ports are from 1 to 65535`);
  return { protocol: protocol as 'tcp' | 'udp', address, port: Number(port), guest, guestPort: Number(guestPort) };
}
