/**
 * The key-value pair exchange, an integration service (Linux drivers/hv/hv_kvp.c, include/uapi/linux/hyperv.h): the host tells the guest
 * what it runs on, and asks what it is. Linux's kernel passes both to a daemon (hv_kvp_daemon), and agrees on a version when that has
 * come. What the guest tells of itself is in the log.
 */
import type { State } from '../../state/state.ts';
import type { VmbusChannel, VmbusHost } from './channel.ts';
import { IntegrationService, type ServiceKind } from './integration.ts';
import { viewOf } from './packet.ts';

const KEY_VALUE: ServiceKind = {
  name: 'key-value',
  type: 'a9a0f4e7-5a45-4d96-b827-8a841e8c03e6',
  instance: 'key-value',
  message: 2,
  versions: [
    [4, 0],
    [3, 0],
    [1, 0],
  ],
};

/** enum hv_kvp_exchg_op and enum hv_kvp_exchg_pool: what the guest says of itself, and what the host says to it. */
const KVP_OP_SET = 1;
const KVP_OP_ENUMERATE = 3;
const KVP_POOL_AUTO = 2;
const KVP_POOL_AUTO_EXTERNAL = 3;

/** struct hv_kvp_msg: operation u8, pool u8, padding u16, then the operation's own. The guest looks for all of it. */
const MESSAGE_SIZE = 4 + 4 + 12 + 512 + 2048;
const BODY = 4;
/** struct hv_kvp_exchg_msg_value: type u32 (1: a text), sizes of key and value in bytes u32, key, value. Texts are UTF-16 and end in 0. */
const KEY_SIZE = 4;
const VALUE_SIZE = 8;
const KEY = 12;
const KEY_ROOM = 512;
const VALUE = KEY + KEY_ROOM;
const VALUE_ROOM = 2048;
const REG_SZ = 1;

/** What the host says, as Hyper-V does. */
const OF_THE_HOST: readonly (readonly [key: string, value: string])[] = [
  ['HostName', 'polyvisor'],
  ['VirtualMachineName', 'polyvisor'],
];
/** Entries that are asked for, at most. Linux has ten. */
const MOST_ENTRIES = 32;

export class KeyValueService extends IntegrationService {
  /** Which request the guest is to answer: first those that tell, then those that ask. */
  readonly #state: State<{ step: number }>;

  constructor(host: VmbusHost, channel: VmbusChannel) {
    super(host, channel, KEY_VALUE);
    this.#state = host.state('key-value/step', 1, () => ({ step: 0 }));
  }

  override opened(): void {
    this.#state.initialise();
    super.opened();
  }

  protected override begin(): undefined {
    this.#request();
  }

  protected override answered(data: Uint8Array, status: number): void {
    const { step } = this.#state;
    if (step >= OF_THE_HOST.length && (status !== 0 || !this.#hear(data))) return;
    this.#state.step++;
    this.#request();
  }

  #request(): void {
    const { step } = this.#state;
    const told = OF_THE_HOST[step];
    const index = step - OF_THE_HOST.length;
    if (!told && index >= MOST_ENTRIES) return;
    const message = new Uint8Array(MESSAGE_SIZE);
    const view = viewOf(message);
    if (told) {
      message.set([KVP_OP_SET, KVP_POOL_AUTO_EXTERNAL]);
      const [key, value] = told.map(utf16);
      view.setUint32(BODY, REG_SZ, true);
      view.setUint32(BODY + KEY_SIZE, key.length, true);
      view.setUint32(BODY + VALUE_SIZE, value.length, true);
      message.set(key, BODY + KEY);
      message.set(value, BODY + VALUE);
    } else {
      message.set([KVP_OP_ENUMERATE, KVP_POOL_AUTO]);
      view.setUint32(BODY, index, true);
    }
    this.say(message);
  }

  /** An entry of the guest's. @returns false if it is none */
  #hear(data: Uint8Array): boolean {
    if (data.length < MESSAGE_SIZE) return false;
    const entry = data.subarray(BODY + 4);
    const view = viewOf(entry);
    const text = (size: number, at: number, room: number) =>
      new TextDecoder('utf-16le')
        .decode(entry.subarray(at, at + Math.min(view.getUint32(size, true), room)))
        .split('\0')[0];
    const [key, value] = [text(KEY_SIZE, KEY, KEY_ROOM), text(VALUE_SIZE, VALUE, VALUE_ROOM)];
    this.host.log.once(`${this.name}-${key}`, `${this.name}: the guest says ${key}: ${value}`);
    return true;
  }
}

/** With a zero behind it. */
function utf16(text: string): Uint8Array {
  const bytes = new Uint8Array(2 * (text.length + 1));
  for (let at = 0; at < text.length; at++) viewOf(bytes).setUint16(2 * at, text.charCodeAt(at), true);
  return bytes;
}
