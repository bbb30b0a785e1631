/**
 * A SCSI host adapter on the VMBus: the host's side of Linux drivers/scsi/storvsc_drv.c. It has one bus with one target,
 * whose logical units are the disks. A request is served at once and completely.
 */
import type { Disk } from '../../host/disk.ts';
import { type State, scoped } from '../../state/state.ts';
import { GuestBuffer } from '../guest-buffer.ts';
import { CDB_SIZE, CHECK_CONDITION, GOOD } from '../scsi/commands.ts';
import type { Identity } from '../scsi/describe.ts';
import { ScsiDisk } from '../scsi/disk.ts';
import { ScsiTarget } from '../scsi/target.ts';
import type { Offer, VmbusChannel, VmbusDevice, VmbusHost } from './channel.ts';
import { instanceGuid } from './guid.ts';
import {
  COMPLETION_REQUESTED,
  DESCRIPTOR_SIZE,
  directBuffer,
  type Packet,
  VM_PKT_COMP,
  VM_PKT_DATA_USING_GPA_DIRECT,
  viewOf,
} from './packet.ts';

/** What Hyper-V's disks call themselves: drivers look at the vendor. */
const NAMES: Pick<Identity, 'vendor' | 'product' | 'revision'> = {
  vendor: 'Msft',
  product: 'Virtual Disk',
  revision: '1.0',
};

/** enum vstor_packet_operation. */
const COMPLETE_IO = 1;
const EXECUTE_SRB = 3;
const RESET_LUN = 4;
const RESET_ADAPTER = 5;
const RESET_BUS = 6;
const BEGIN_INITIALIZATION = 7;
const END_INITIALIZATION = 8;
const QUERY_PROTOCOL_VERSION = 9;
const QUERY_PROPERTIES = 10;

/** struct vstor_packet: operation, flags, status (each u32), then what belongs to the operation. */
const PACKET_SIZE = 64;
const STATUS = 8;
const BODY = 12;
const STATUS_SUCCESS = 0;
/** STATUS_INVALID_PARAMETER and STATUS_REVISION_MISMATCH of Windows. */
const STATUS_INVALID_PARAMETER = 0xc000000d;
const STATUS_REVISION_MISMATCH = 0xc0000059;

/** Versions of the protocol: Windows 8, 8.1 and 10. */
const VERSIONS: ReadonlySet<number> = new Set([0x0501, 0x0600, 0x0602]);

/** struct vmscsi_request, from the packet's start. */
const SRB_STATUS = BODY + 2;
const SCSI_STATUS = BODY + 3;
const PATH = BODY + 5;
const TARGET = BODY + 6;
const LUN = BODY + 7;
const CDB_LENGTH = BODY + 8;
const SENSE_LENGTH = BODY + 9;
const TRANSFER_LENGTH = BODY + 12;
/** The command; in the answer, sense data. */
const CDB = BODY + 16;
const SENSE_ROOM = 20;

const SRB_STATUS_SUCCESS = 0x01;
const SRB_STATUS_ERROR = 0x04;
const SRB_STATUS_INVALID_REQUEST = 0x06;
const SRB_STATUS_INVALID_LUN = 0x20;
const SRB_STATUS_AUTOSENSE_VALID = 0x80;

/** struct vmstorage_channel_properties, from the packet's start. */
const MAX_CHANNELS = BODY + 4;
const MAX_TRANSFER_BYTES = BODY + 12;
const MOST_BYTES = 2 ** 20;

const COMPLETION_SIZE = DESCRIPTOR_SIZE + PACKET_SIZE;

/** After this much work for one signal the rest of the machine gets a turn. */
const TURN_REQUESTS = 256;
const TURN_BYTES = 2 ** 26;

const initial = () => ({
  /** True between the guest's BEGIN_INITIALIZATION and the channel's end. */
  initialised: false,
});

export class Storvsc implements VmbusDevice {
  readonly name: string;
  readonly offer: Offer;
  readonly #channel: VmbusChannel;
  readonly #host: VmbusHost;
  readonly #target: ScsiTarget;
  readonly #nothing: GuestBuffer;
  readonly #state: State<ReturnType<typeof initial>>;

  /** @param index which adapter of the machine it is */
  constructor(host: VmbusHost, channel: VmbusChannel, disks: readonly Disk[], index = 0) {
    this.name = `scsi-${index}`;
    this.offer = {
      type: 'ba6163d9-04a1-4d29-b605-72e2ffb1dc7f',
      instance: instanceGuid('scsi', index),
      pipe: false,
    };
    this.#host = host;
    this.#channel = channel;
    this.#state = scoped(host, this.name).state('adapter', 1, initial);
    this.#nothing = GuestBuffer.over(host.memory, [])!;
    this.#target = new ScsiTarget(
      disks.map((disk, number) => new ScsiDisk(disk, { ...NAMES, serial: `disk-${number}`, number }, host.log)),
    );
  }

  opened(): void {
    this.#state.initialise();
  }

  closed(): void {
    this.#state.initialise();
  }

  serve(): boolean {
    for (let requests = 0, bytes = 0; requests < TURN_REQUESTS && bytes < TURN_BYTES; requests++) {
      if (!this.#channel.hasRoom(COMPLETION_SIZE)) return false;
      const packet = this.#channel.receive();
      if (!packet) return false;
      bytes += this.#serve(packet);
    }
    return true;
  }

  /** @returns the bytes that the host moved or cleared */
  #serve(packet: Packet): number {
    // An older guest's packets are shorter: what they lack is zero.
    const answer = new Uint8Array(PACKET_SIZE);
    answer.set(packet.body.subarray(0, PACKET_SIZE));
    const view = viewOf(answer);
    const operation = view.getUint32(0, true);
    let moved = 0;
    if (operation === EXECUTE_SRB) moved = this.#execute(answer, this.#bufferOf(packet));
    else view.setUint32(STATUS, this.#negotiate(operation, view), true);
    view.setUint32(0, COMPLETE_IO, true);
    view.setUint32(4, 0, true);
    if (packet.flags & COMPLETION_REQUESTED)
      this.#channel.send({ type: VM_PKT_COMP, transaction: packet.transaction, body: answer });
    return moved;
  }

  /** The data's buffer; undefined where the guest names memory that it does not have. */
  #bufferOf(packet: Packet): GuestBuffer | undefined {
    return packet.type === VM_PKT_DATA_USING_GPA_DIRECT ? directBuffer(this.#host.memory, packet) : this.#nothing;
  }

  /** All operations but EXECUTE_SRB. @returns the status */
  #negotiate(operation: number, view: DataView): number {
    switch (operation) {
      case BEGIN_INITIALIZATION:
        this.#state.initialised = true;
        return STATUS_SUCCESS;
      case QUERY_PROTOCOL_VERSION:
        return VERSIONS.has(view.getUint16(BODY, true)) ? STATUS_SUCCESS : STATUS_REVISION_MISMATCH;
      case QUERY_PROPERTIES:
        for (let at = BODY; at < PACKET_SIZE; at += 4) view.setUint32(at, 0, true);
        view.setUint16(MAX_CHANNELS, 1, true);
        view.setUint32(MAX_TRANSFER_BYTES, MOST_BYTES, true);
        return STATUS_SUCCESS;
      case END_INITIALIZATION:
      // Requests are served at once, so that none is left to be aborted.
      case RESET_LUN:
      case RESET_ADAPTER:
      case RESET_BUS:
        return STATUS_SUCCESS;
      default:
        this.#host.log.once(`${this.name}-operation-${operation}`, `${this.name}: operation ${operation} is not known`);
        return STATUS_INVALID_PARAMETER;
    }
  }

  /** Executes the command in `answer` and makes the answer of it. @returns the bytes that the host moved or cleared */
  #execute(answer: Uint8Array, buffer: GuestBuffer | undefined): number {
    const view = viewOf(answer);
    const finish = (srb: number, status: number, sense: Uint8Array, moved: number) => {
      view.setUint8(SRB_STATUS, srb);
      view.setUint8(SCSI_STATUS, status);
      view.setUint8(SENSE_LENGTH, sense.length);
      view.setUint32(TRANSFER_LENGTH, moved, true);
      answer.fill(0, CDB, CDB + SENSE_ROOM);
      answer.set(sense, CDB);
    };
    const none = new Uint8Array(0);
    const length = view.getUint8(CDB_LENGTH);
    if (!buffer || !this.#state.initialised || length === 0 || length > CDB_SIZE) {
      finish(SRB_STATUS_INVALID_REQUEST, GOOD, none, 0);
      return 0;
    }
    const cdb = new Uint8Array(CDB_SIZE);
    cdb.set(answer.subarray(CDB, CDB + length));
    const target = view.getUint8(PATH) === 0 && view.getUint8(TARGET) === 0 ? this.#target : NO_TARGET;
    const lun = view.getUint8(LUN);
    const { status, sense, transferred, work } = target.execute(lun, cdb, buffer);
    if (status !== CHECK_CONDITION) finish(SRB_STATUS_SUCCESS, status, none, transferred);
    else if (!target.has(lun)) finish(SRB_STATUS_INVALID_LUN, GOOD, none, 0);
    else finish(SRB_STATUS_ERROR | SRB_STATUS_AUTOSENSE_VALID, status, sense, 0);
    return work;
  }
}

/** Where there is no target: INQUIRY says so, and everything else fails. */
const NO_TARGET = new ScsiTarget([]);
