/**
 * The VMBus: the host's side of the conversation in which a guest agrees on a version, hears what devices there are, opens
 * and closes their channels, and leaves (Linux include/linux/hyperv.h, drivers/hv/connection.c and channel_mgmt.c). Guests
 * wait for most answers without a limit of time, so every request that has an answer gets one.
 */
import type { VmbusDevice, VmbusDeviceFactory, VmbusSockets } from '../../devices/vmbus/channel.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';
import { SINTS, type Synic } from './synic.ts';
import {
  type BusState,
  type Channels,
  createChannels,
  FIRST_CHANNEL_CONNECTION,
  initialBus,
} from './vmbus-channels.ts';
import * as vmbus from './vmbus-messages.ts';
import { HEADER, HVMSG_VMBUS, message } from './vmbus-messages.ts';

/** The ACPI device by which drivers find the bus. */
export const VMBUS_DEVICE = 'VMBUS';

/** Connections to which a guest posts: until version 4.1, and from 5.0 on. */
const VMBUS_MESSAGE_CONNECTION_ID = 1;
const VMBUS_MESSAGE_CONNECTION_ID_4 = 4;
/** The connection that older guests signal, whichever channel they mean. */
const VMBUS_EVENT_CONNECTION_ID = 2;
const VMBUS_MESSAGE_SINT = 2;

/** The status of what was asked of a channel that does not exist, or could not be done. */
const FAILED = 1;

/** INITIATE_CONTACT's body: version, target processor, and the SINT in the low byte of the third field. */
const CONTACT_SIZE = HEADER + 12;
/** Before version 2.4: the page of interrupts. */
const CONTACT_INTERRUPT_PAGE = HEADER + 8;

/** OPENCHANNEL as far as it matters: what follows is the device's. */
const OPEN_SIZE = HEADER + 20;

interface Peer {
  cpu: Processor;
  sint: number;
}

export interface Vmbus {
  /** A message has been posted. @returns false if its answer found no room: the guest shall try again. */
  post(cpu: Processor, type: number, payload: Uint8Array): boolean;
  /** True if there is such a connection for messages. */
  takesMessages(connection: number): boolean;
  /** The guest signals a connection. @returns false if there is none */
  signal(connection: number): boolean;
  /** Takes the device `name` away from the guest, as if it were unplugged. @returns false if the guest did not have it */
  rescind(name: string): boolean;
  readonly devices: readonly VmbusDevice[];
}

/**
 * @param factories make the devices, in the order in which guests hear of them
 * @param sockets what becomes of the guest's connection requests; without it they are refused
 */
export function createVmbus(
  context: HypervisorContext,
  synic: Synic,
  factories: readonly VmbusDeviceFactory[],
  sockets?: VmbusSockets,
): Vmbus {
  return new Conversation(context, synic, factories, sockets);
}

/** A message of the guest's, with where its answer goes. */
interface Request {
  to: Peer;
  body: DataView;
  /** The 32-bit word at `index` after the header; 0 beyond the end. */
  word(index: number): number;
}

class Conversation implements Vmbus {
  readonly #context: HypervisorContext;
  readonly #synic: Synic;
  readonly #state: BusState;
  readonly #channels: Channels;
  readonly #sockets: VmbusSockets | undefined;

  constructor(
    context: HypervisorContext,
    synic: Synic,
    factories: readonly VmbusDeviceFactory[],
    sockets: VmbusSockets | undefined,
  ) {
    const pluggable = sockets?.factories ?? [];
    this.#context = context;
    this.#synic = synic;
    this.#sockets = sockets;
    this.#state = context.state('hyperv/vmbus', 2, () => initialBus(factories.length, pluggable.length));
    this.#channels = createChannels(context, synic, factories, pluggable, this.#state);
  }

  get devices(): readonly VmbusDevice[] {
    return this.#channels.devices;
  }

  takesMessages(connection: number): boolean {
    return connection === VMBUS_MESSAGE_CONNECTION_ID || connection === VMBUS_MESSAGE_CONNECTION_ID_4;
  }

  signal(connection: number): boolean {
    if (connection === VMBUS_EVENT_CONNECTION_ID) {
      this.#channels.serveFlagged();
      return true;
    }
    const channel = this.#channels.of(connection - FIRST_CHANNEL_CONNECTION);
    if (channel) this.#channels.serve(channel);
    return channel !== undefined;
  }

  rescind(name: string): boolean {
    const index = this.devices.findIndex(device => device.name === name);
    return this.#channels.of(index + 1)?.unplug() ?? false;
  }

  post(cpu: Processor, messageType: number, payload: Uint8Array): boolean {
    if (messageType !== HVMSG_VMBUS || payload.length < HEADER) return true;
    const body = new DataView(payload.buffer, payload.byteOffset, payload.length);
    const word = (index: number) => {
      const at = HEADER + 4 * index;
      return at + 4 <= body.byteLength ? body.getUint32(at, true) : 0;
    };
    const type = body.getUint32(0, true);
    if (type === vmbus.CHANNELMSG_INITIATE_CONTACT) return this.#contact(cpu, body);
    const to = this.#peer(cpu);
    // Nothing is done whose answer would find no room.
    return this.#synic.room(to.cpu, to.sint) > 0 && this.#answer(type, { to, body, word });
  }

  /** @returns false if there was no room for all of the answer */
  #answer(type: number, request: Request): boolean {
    const { to, word } = request;
    switch (type) {
      case vmbus.CHANNELMSG_REQUESTOFFERS:
        return this.#offer(to);
      case vmbus.CHANNELMSG_UNLOAD:
        this.#channels.forget();
        return this.#send(to, message(vmbus.CHANNELMSG_UNLOAD_RESPONSE));
      case vmbus.CHANNELMSG_OPENCHANNEL:
        return this.#open(request);
      case vmbus.CHANNELMSG_CLOSECHANNEL:
        this.#channels.of(word(0))?.close();
        return true;
      case vmbus.CHANNELMSG_GPADL_HEADER:
      case vmbus.CHANNELMSG_GPADL_BODY:
        return this.#describe(type, request);
      case vmbus.CHANNELMSG_GPADL_TEARDOWN:
        return this.#tearDown(request);
      case vmbus.CHANNELMSG_MODIFYCHANNEL:
        return this.#modify(request);
      case vmbus.CHANNELMSG_RELID_RELEASED:
        this.#channels.of(word(0))?.release();
        return true;
      case vmbus.CHANNELMSG_TL_CONNECT_REQUEST:
        return this.#connect(request);
      default: {
        const { log } = this.#context;
        log.once(`vmbus-message-${type}`, `VMBus message ${type}: needs no answer, or is not known`);
        return true;
      }
    }
  }

  #processor(id: number): Processor | undefined {
    return this.#context.cpus.find(cpu => cpu.id === id);
  }

  /** Where answers go: the peer of the last contact, or else whoever posts. */
  #peer(cpu: Processor): Peer {
    const { peer } = this.#state;
    const known = peer && this.#processor(peer.processor);
    return known ? { cpu: known, sint: peer.sint } : { cpu, sint: VMBUS_MESSAGE_SINT };
  }

  #send({ cpu, sint }: Peer, payload: Uint8Array): boolean {
    return this.#synic.post(cpu, sint, { type: HVMSG_VMBUS, payload, timer: undefined });
  }

  #contact(cpu: Processor, body: DataView): boolean {
    const version = body.byteLength >= CONTACT_SIZE ? body.getUint32(HEADER, true) : 0;
    const known = vmbus.VERSIONS.has(version);
    const target = known ? this.#processor(body.getUint32(HEADER + 4, true)) : undefined;
    const sint = known && version >= vmbus.VERSION_WIN10_V5 ? body.getUint8(HEADER + 8) : VMBUS_MESSAGE_SINT;
    const interruptPage = known && version < vmbus.VERSION_WIN8 ? this.#interruptPage(body) : undefined;
    const supported = target !== undefined && sint < SINTS && interruptPage !== false;
    const to: Peer = supported ? { cpu: target, sint } : { cpu, sint: VMBUS_MESSAGE_SINT };
    if (this.#synic.room(to.cpu, to.sint) === 0) return false;
    if (supported) {
      this.#channels.forget();
      Object.assign(this.#state, { peer: { processor: target.id, sint }, version, interruptPage });
    }
    // Bytes: supported, connection state (0: successful), two unused; then the connection for all further messages.
    const words = [supported ? 1 : 0, VMBUS_MESSAGE_CONNECTION_ID_4];
    return this.#send(to, message(vmbus.CHANNELMSG_VERSION_RESPONSE, ...words));
  }

  /** @returns false if it is no page of RAM */
  #interruptPage(body: DataView): number | false {
    if (body.byteLength < CONTACT_INTERRUPT_PAGE + 8) return false;
    const address = Number(body.getBigUint64(CONTACT_INTERRUPT_PAGE, true));
    return address % PAGE_SIZE === 0 && this.#context.memory.has(address, PAGE_SIZE) && address;
  }

  /** All offers, and that these were all. */
  #offer(to: Peer): boolean {
    const offers = this.devices.flatMap(({ offer }, index) => (offer ? [{ offer, relid: index + 1 }] : []));
    if (this.#synic.room(to.cpu, to.sint) <= offers.length) return false;
    this.#state.offered = true;
    for (const { offer, relid } of offers) {
      if (this.#channels.of(relid)?.isLost) continue;
      this.#send(to, vmbus.offerMessage(offer, relid, FIRST_CHANNEL_CONNECTION + relid));
    }
    return this.#send(to, message(vmbus.CHANNELMSG_ALLOFFERS_DELIVERED));
  }

  #open({ to, body, word }: Request): boolean {
    const [relid, openId, gpadl, target, split] = [0, 1, 2, 3, 4].map(word);
    const channel = this.#channels.of(relid);
    const possible = body.byteLength >= OPEN_SIZE && this.#processor(target) !== undefined;
    const opened = possible && channel?.open(gpadl, split, target);
    const answered = this.#send(to, message(vmbus.CHANNELMSG_OPENCHANNEL_RESULT, relid, openId, opened ? 0 : FAILED));
    // The guest may have filled its ring before.
    if (channel && opened) this.#channels.serve(channel);
    return answered;
  }

  /** A GPADL's pages: the first of them, with whose they are, or more. */
  #describe(type: number, { to, body, word }: Request): boolean {
    const { gpadls } = this.#channels;
    const handle = word(1);
    const first = type === vmbus.CHANNELMSG_GPADL_HEADER;
    // A body begins with its number, which says nothing: they come in order.
    const relid = first ? word(0) : (gpadls.relidOf(handle) ?? 0);
    const exists = !first || this.#channels.of(relid)?.isAbsent === false;
    const progress = !exists ? 'refused' : first ? gpadls.begin(relid, handle, body) : gpadls.go(handle, body);
    if (progress === 'unfinished') return true;
    return this.#send(to, message(vmbus.CHANNELMSG_GPADL_CREATED, relid, handle, progress === 'created' ? 0 : FAILED));
  }

  #tearDown({ to, word }: Request): boolean {
    const [relid, handle] = [word(0), word(1)];
    const channel = this.#channels.of(relid);
    if (channel?.isOpen && channel.state.gpadl === handle) channel.close();
    if (this.#channels.gpadls.relidOf(handle) === relid) this.#channels.gpadls.tearDown(handle);
    return this.#send(to, message(vmbus.CHANNELMSG_GPADL_TORNDOWN, handle));
  }

  #modify({ to, word }: Request): boolean {
    const [relid, target] = [word(0), word(1)];
    const channel = this.#channels.of(relid);
    const done = channel?.isOpen && this.#processor(target) !== undefined;
    if (done) channel.state.target = target;
    if (this.#state.version < vmbus.VERSION_WIN10_V5_3) return true;
    return this.#send(to, message(vmbus.CHANNELMSG_MODIFYCHANNEL_RESPONSE, relid, done ? 0 : FAILED));
  }

  /** The guest wants a channel to a service of the host's. */
  #connect({ to, body }: Request): boolean {
    const asked = vmbus.parseConnectRequest(body);
    const { offered, version } = this.#state;
    if (!asked || !offered || version < vmbus.VERSION_WIN10) return true;
    const { endpoint, service } = asked;
    if (this.#sockets?.connect(endpoint, service) || version < vmbus.VERSION_WIN10_V5) return true;
    return this.#send(to, vmbus.refusalMessage(endpoint, service));
  }
}
