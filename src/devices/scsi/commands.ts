/**
 * What SCSI's standards fix: operation codes, statuses, sense data (SPC-4 and SBC-3). Numbers of several bytes are big endian.
 */

export const TEST_UNIT_READY = 0x00;
export const REQUEST_SENSE = 0x03;
export const READ_6 = 0x08;
export const WRITE_6 = 0x0a;
export const INQUIRY = 0x12;
export const MODE_SENSE_6 = 0x1a;
export const START_STOP_UNIT = 0x1b;
export const READ_CAPACITY_10 = 0x25;
export const READ_10 = 0x28;
export const WRITE_10 = 0x2a;
export const SYNCHRONIZE_CACHE_10 = 0x35;
export const WRITE_SAME_10 = 0x41;
export const UNMAP = 0x42;
export const MODE_SENSE_10 = 0x5a;
export const READ_16 = 0x88;
export const WRITE_16 = 0x8a;
export const SYNCHRONIZE_CACHE_16 = 0x91;
export const WRITE_SAME_16 = 0x93;
export const SERVICE_ACTION_IN_16 = 0x9e;
/** A service action of the former. */
export const READ_CAPACITY_16 = 0x10;
export const REPORT_LUNS = 0xa0;
export const READ_12 = 0xa8;
export const WRITE_12 = 0xaa;

export const GOOD = 0x00;
export const CHECK_CONDITION = 0x02;

/** Sense key, additional sense code and its qualifier (SPC-4 4.5.6 and annex F). */
export type Sense = readonly [key: number, code: number, qualifier: number];
export const NO_SENSE: Sense = [0x0, 0x00, 0x00];
export const WRITE_ERROR: Sense = [0x3, 0x0c, 0x00];
export const UNRECOVERED_READ_ERROR: Sense = [0x3, 0x11, 0x00];
export const INVALID_COMMAND_OPERATION_CODE: Sense = [0x5, 0x20, 0x00];
export const LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE: Sense = [0x5, 0x21, 0x00];
export const INVALID_FIELD_IN_CDB: Sense = [0x5, 0x24, 0x00];
export const LOGICAL_UNIT_NOT_SUPPORTED: Sense = [0x5, 0x25, 0x00];
export const INVALID_FIELD_IN_PARAMETER_LIST: Sense = [0x5, 0x26, 0x00];
export const PARAMETER_LIST_LENGTH_ERROR: Sense = [0x5, 0x1a, 0x00];
export const SAVING_PARAMETERS_NOT_SUPPORTED: Sense = [0x5, 0x39, 0x00];
export const WRITE_PROTECTED: Sense = [0x7, 0x27, 0x00];

/** What a command comes to. */
export interface ScsiAnswer {
  /** GOOD or CHECK_CONDITION. */
  readonly status: number;
  /** Fixed-format sense data; empty with GOOD. */
  readonly sense: Uint8Array;
  /** Bytes that were moved between the buffer and the unit. */
  readonly transferred: number;
  /** Bytes that the host moved or cleared: what the command cost. */
  readonly work: number;
}

export const SENSE_SIZE = 18;

/** Sense data in fixed format, of a current error (SPC-4 4.5.3). */
export function senseData([key, code, qualifier]: Sense): Uint8Array {
  const bytes = new Uint8Array(SENSE_SIZE);
  bytes[0] = 0x70;
  bytes[2] = key;
  bytes[7] = SENSE_SIZE - 8;
  bytes[12] = code;
  bytes[13] = qualifier;
  return bytes;
}

const NOTHING = new Uint8Array(0);
export const good = (transferred = 0, work = transferred): ScsiAnswer => ({
  status: GOOD,
  sense: NOTHING,
  transferred,
  work,
});
export const check = (sense: Sense): ScsiAnswer => ({
  status: CHECK_CONDITION,
  sense: senseData(sense),
  transferred: 0,
  work: 0,
});

/** The longest command that a transport hands over; shorter ones are followed by zeros. */
export const CDB_SIZE = 16;
