/** A SCSI target: logical units by their numbers, and what is answered for those that are not there (SPC-4 6.33, 6.4.1). */
import type { GuestBuffer } from '../guest-buffer.ts';
import * as scsi from './commands.ts';
import { check, good, type ScsiAnswer } from './commands.ts';
import { inquiryData } from './describe.ts';
import type { ScsiDisk } from './disk.ts';

/** An entry of REPORT LUNS, and the header before them. */
const LUN_SIZE = 8;

export class ScsiTarget {
  readonly #units: readonly ScsiDisk[];

  /** @param units a unit's place is its logical unit number; at most 256 */
  constructor(units: readonly ScsiDisk[]) {
    this.#units = units;
  }

  /** True if there is a logical unit of that number. */
  has(lun: number): boolean {
    return lun < this.#units.length;
  }

  /** As `ScsiDisk.execute`, for whichever unit is meant. */
  execute(lun: number, cdb: Uint8Array, buffer: GuestBuffer): ScsiAnswer {
    if (cdb[0] === scsi.REPORT_LUNS) return this.#reportLuns(cdb, buffer);
    const unit = this.#units[lun];
    if (unit) return unit.execute(cdb, buffer);
    const view = new DataView(cdb.buffer, cdb.byteOffset, cdb.length);
    // These two are answered even where there is nothing.
    if (cdb[0] === scsi.INQUIRY) return good(buffer.copyIn(0, inquiryData(undefined).subarray(0, view.getUint16(3))));
    if (cdb[0] === scsi.REQUEST_SENSE)
      return good(buffer.copyIn(0, scsi.senseData(scsi.LOGICAL_UNIT_NOT_SUPPORTED).subarray(0, cdb[4])));
    return check(scsi.LOGICAL_UNIT_NOT_SUPPORTED);
  }

  #reportLuns(cdb: Uint8Array, buffer: GuestBuffer): ScsiAnswer {
    const list = new Uint8Array(LUN_SIZE * (1 + this.#units.length));
    new DataView(list.buffer).setUint32(0, LUN_SIZE * this.#units.length);
    // Peripheral device addressing (SAM-5 4.7.7.2): the number is in the second byte.
    for (const lun of this.#units.keys()) list[LUN_SIZE * (1 + lun) + 1] = lun;
    const allowed = new DataView(cdb.buffer, cdb.byteOffset, cdb.length).getUint32(6);
    return good(buffer.copyIn(0, list.subarray(0, allowed)));
  }
}
