/**
 * INT 13h: disks by cylinder, head and sector, and by block address as the Enhanced Disk Drive Specification 1.1 has it; of a
 * CD, what El Torito adds. Function numbers and statuses are those of Ralf Brown's Interrupt List.
 */
import type { GuestMemory } from '../../memory/memory.ts';
import type { Functions, Service } from './bios.ts';
import type { BiosCall } from './call.ts';
import { type Drive, FIRST_DISK, floppyType } from './drives.ts';
import { BDA, DISKETTE_PARAMETERS, ROM_SEGMENT } from './image.ts';

/** What AH says afterwards. */
const STATUS = {
  done: 0x00,
  badCommand: 0x01,
  writeProtected: 0x03,
  sectorNotFound: 0x04,
  boundary: 0x09,
  controllerFailed: 0x20,
} as const;
type Status = (typeof STATUS)[keyof typeof STATUS];

/** AH=15h: what the drive is. */
const FLOPPY = 1;
const FIXED_DISK = 3;
/** AH=02h to 04h: the most sectors of one call. */
const MOST_SECTORS = 128;
/** AH=42h to 44h: the most sectors of one call (EDD 1.1, 3.4). */
const MOST_BLOCKS = 127;

/** AH=41h: what is asked and answered, the version, and which functions there are: those of block addresses. */
const ASKED = 0x55aa;
const ANSWERED = 0xaa55;
const EDD_1_1 = 0x21;
const BLOCK_ACCESS = 1;
/** AH=48h: the length of the answer, and its flags. */
const PARAMETERS_SIZE = 0x1a;
const GEOMETRY_VALID = 1 << 1;
const REMOVABLE = 1 << 2;
/** The disk address packet. */
const PACKET_SIZE = 0x10;
/** AX=4B01h: the specification packet. */
const SPECIFICATION_SIZE = 0x13;

type Direction = 'read' | 'write' | 'verify';
type DriveService = (call: BiosCall, drive: Drive) => Status;

export function diskServices(memory: GuestMemory, drives: readonly Drive[]): Service {
  const lastStatus = (drive: number) => (drive < FIRST_DISK ? BDA.floppyStatus : BDA.diskStatus);
  const answer = (call: BiosCall, number: number, status: Status) => {
    memory.write8(lastStatus(number), status);
    call.ah = status;
    call.carry = status !== STATUS.done;
  };
  /** Services of a drive that is there. Their number in DL is read before they change it. */
  const byDrive = (functions: Readonly<Record<number, DriveService>>): Functions =>
    Object.fromEntries(
      Object.entries(functions).map(([number, service]) => [
        number,
        (call: BiosCall) => {
          const { dl } = call;
          const drive = drives.find(({ number: other }) => other === dl);
          answer(call, dl, drive ? service(call, drive) : STATUS.badCommand);
        },
      ]),
    );
  const done = () => STATUS.done;

  const functions: Functions = {
    // The controller is reset whichever drive it is asked for.
    0: call => answer(call, call.dl, STATUS.done),
    1: call => {
      const status = memory.read8(lastStatus(call.dl));
      call.ah = status;
      call.carry = status !== STATUS.done;
    },
    ...byDrive({
      2: (call, drive) => transferByGeometry(call, drive, 'read'),
      3: (call, drive) => transferByGeometry(call, drive, 'write'),
      4: (call, drive) => transferByGeometry(call, drive, 'verify'),
      8: (call, drive) => {
        if (drive.kind === 'cd') return STATUS.badCommand;
        tellGeometry(call, drive, drives.filter(({ kind }) => kind === drive.kind).length);
        return STATUS.done;
      },
      ...{ 12: done, 13: done, 16: done, 17: done, 71: done },
      66: (call, drive) => transferByPacket(call, drive, 'read'),
      67: (call, drive) => transferByPacket(call, drive, 'write'),
      68: (call, drive) => transferByPacket(call, drive, 'verify'),
      72: tellParameters,
      75: tellBootEntry,
    }),
  };

  /** AH=15h and AH=41h answer in AH, too. */
  const special: Functions = {
    21: call => {
      const { dl } = call;
      const drive = drives.find(({ number }) => number === dl);
      if (!drive || drive.kind === 'cd') return answer(call, dl, STATUS.badCommand);
      if (drive.kind === 'disk') {
        call.cx = Math.floor(drive.sectors / 0x10000);
        call.dx = drive.sectors % 0x10000;
      }
      answer(call, dl, STATUS.done);
      call.ah = drive.kind === 'disk' ? FIXED_DISK : FLOPPY;
    },
    65: call => {
      const { dl } = call;
      const drive = drives.find(({ number }) => number === dl);
      if (!drive || drive.kind === 'floppy' || call.bx !== ASKED) return answer(call, dl, STATUS.badCommand);
      answer(call, dl, STATUS.done);
      call.ah = EDD_1_1;
      call.bx = ANSWERED;
      call.cx = BLOCK_ACCESS;
    },
  };

  return call => {
    const service = special[call.ah] ?? functions[call.ah];
    if (service) return service(call);
    answer(call, call.dl, STATUS.badCommand);
  };
}

/** AH=02h, 03h, 04h: AL sectors from CH, CL, DH on, at ES:BX. */
function transferByGeometry(call: BiosCall, drive: Drive, direction: Direction): Status {
  const { heads, sectors, cylinders } = drive.geometry;
  const { al: count, cx, dh: head } = call;
  const cylinder = (cx >> 8) | ((cx & 0xc0) << 2);
  const sector = cx & 0x3f;
  call.al = 0;
  if (drive.kind === 'cd' || count === 0 || count > MOST_SECTORS) return STATUS.badCommand;
  if (cylinder >= cylinders || head >= heads || sector === 0 || sector > sectors) return STATUS.sectorNotFound;
  const block = (cylinder * heads + head) * sectors + sector - 1;
  const status = transfer(call, drive, direction, { block, count, address: call.esBx });
  if (status === STATUS.done) call.al = count;
  return status;
}

/** AH=42h, 43h, 44h: by the packet at DS:SI, whose count says afterwards how many sectors there were. */
function transferByPacket(call: BiosCall, drive: Drive, direction: Direction): Status {
  const packet = call.read(call.dsSi, PACKET_SIZE);
  if (drive.kind === 'floppy' || !packet || packet[0] < PACKET_SIZE) return STATUS.badCommand;
  const view = new DataView(packet.buffer, packet.byteOffset, PACKET_SIZE);
  const count = view.getUint16(2, true);
  const block = Number(view.getBigUint64(8, true));
  const address = BigInt(view.getUint16(6, true) * 16 + view.getUint16(4, true));
  const status = count > MOST_BLOCKS ? STATUS.badCommand : transfer(call, drive, direction, { block, count, address });
  if (status !== STATUS.done) call.write(call.dsSi + 2n, Uint8Array.of(0, 0));
  return status;
}

function transfer(
  call: BiosCall,
  { disk, sectors, sectorSize }: Drive,
  direction: Direction,
  { block, count, address }: { block: number; count: number; address: bigint },
): Status {
  if (block + count > sectors) return STATUS.sectorNotFound;
  if (direction === 'write' && disk.readOnly) return STATUS.writeProtected;
  if (count === 0 || direction === 'verify') return STATUS.done;
  const length = count * sectorSize;
  try {
    if (direction === 'read') {
      const bytes = new Uint8Array(length);
      disk.read(block * sectorSize, bytes);
      return call.write(address, bytes) ? STATUS.done : STATUS.boundary;
    }
    const bytes = call.read(address, length);
    if (!bytes) return STATUS.boundary;
    disk.write(block * sectorSize, bytes);
    disk.flush();
    return STATUS.done;
  } catch {
    return STATUS.controllerFailed; // The host cannot.
  }
}

/** AH=08h: the highest of each, and how many such drives there are. */
function tellGeometry(call: BiosCall, drive: Drive, count: number): void {
  const { cylinders, heads, sectors } = drive.geometry;
  const last = cylinders - 1;
  call.cx = ((last & 0xff) << 8) | ((last >> 2) & 0xc0) | sectors;
  call.dx = ((heads - 1) << 8) | count;
  call.al = 0;
  if (drive.kind !== 'floppy') return;
  call.bx = floppyType(drive);
  call.setEsDi(ROM_SEGMENT, DISKETTE_PARAMETERS);
}

/** AH=48h: to DS:SI, which says how much room there is. */
function tellParameters(call: BiosCall, { geometry, kind, sectors, sectorSize }: Drive): Status {
  const room = call.read(call.dsSi, 2);
  if (kind === 'floppy' || !room || room[0] + room[1] * 256 < PARAMETERS_SIZE) return STATUS.badCommand;
  const view = new DataView(new ArrayBuffer(PARAMETERS_SIZE));
  view.setUint16(0, PARAMETERS_SIZE, true);
  view.setUint16(2, kind === 'cd' ? REMOVABLE : GEOMETRY_VALID, true);
  if (kind === 'disk') {
    view.setUint32(4, geometry.cylinders, true);
    view.setUint32(8, geometry.heads, true);
    view.setUint32(12, geometry.sectors, true);
  }
  view.setBigUint64(16, BigInt(sectors), true);
  view.setUint16(24, sectorSize, true);
  return call.write(call.dsSi, new Uint8Array(view.buffer)) ? STATUS.done : STATUS.boundary;
}

/** AH=4Bh: ends the emulation of a drive, of which there is none, or tells (AL=01h) what was booted. */
function tellBootEntry(call: BiosCall, { number, bootEntry }: Drive): Status {
  if (!bootEntry || call.al > 1) return STATUS.badCommand;
  const view = new DataView(new ArrayBuffer(SPECIFICATION_SIZE));
  view.setUint8(0, SPECIFICATION_SIZE);
  view.setUint8(1, bootEntry.mediaType);
  view.setUint8(2, number);
  view.setUint32(4, bootEntry.block, true);
  view.setUint16(12, bootEntry.loadSegment, true);
  view.setUint16(14, bootEntry.sectorCount, true);
  return call.write(call.dsSi, new Uint8Array(view.buffer)) ? STATUS.done : STATUS.boundary;
}
