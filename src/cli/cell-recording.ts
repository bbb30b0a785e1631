/** `matrix --record-failures`: a cell's boot is recorded, and the recording stays where the cell is red. */
import { existsSync, rmSync } from 'node:fs';
import type { MachineOptions } from '../index.ts';
import { type CellResult, isGood } from '../matrix/result.ts';
import type { CellSpec } from './cell.ts';
import { recorded } from './doors.ts';
import { RecordingFile } from './recording-file.ts';
import { shellLine } from './shell-words.ts';

export interface CellRecording {
  /** The machine that is recorded, or as it was given where nothing is to be. */
  readonly options: MachineOptions;
  /** Takes the recording away where it is not wanted. @returns the result, with what there is to say of the recording */
  end(result: CellResult): Promise<CellResult>;
}

/** @param boot which of the cell's boots, for the file's name. @throws Failure where the file cannot be begun */
export async function recordCell(
  { recordingFile }: CellSpec,
  options: MachineOptions,
  boot?: string,
): Promise<CellRecording> {
  if (recordingFile === undefined) return { options, end: async result => result };
  const name = boot === undefined ? recordingFile : `${recordingFile}-${boot}`;
  // The cell goes on without.
  const file = new RecordingFile(name, () => {});
  return {
    options: await recorded(options, file, undefined),
    async end(result) {
      const failure = await file.close().then(
        () => undefined,
        (error: Error) => error.message,
      );
      if (failure !== undefined || isGood(result.verdict)) rmSync(name, { force: true });
      if (failure === undefined || isGood(result.verdict)) return result;
      return { ...result, reason: `${result.reason}; no recording is left: ${failure}` };
    },
  };
}

/** Those of an earlier run are not this one's. */
export function forgetRecordings(spec: CellSpec): void {
  for (const name of filesOf(spec)) rmSync(name, { force: true });
}
/** The second boot's first: it is why the cell is red, where there is one. */
const filesOf = ({ recordingFile }: CellSpec) =>
  recordingFile === undefined ? [] : [`${recordingFile}-${SECOND_BOOT}`, recordingFile];

/** The result of a cell that has ended, however it did, with the command that repeats it where it has left a recording. */
export function withRecording(spec: CellSpec, result: CellResult): CellResult {
  const file = isGood(result.verdict) ? undefined : filesOf(spec).find(name => existsSync(name));
  if (file === undefined) return result;
  const { hypervisorFile } = spec;
  const hypervisor = hypervisorFile === undefined ? [] : ['-H', hypervisorFile];
  return { ...result, recording: file, repeat: shellLine(['polyvisor', 'run', '--replay', file, ...hypervisor]) };
}

/** The second boot of the built-in test, in the name of its file. */
export const SECOND_BOOT = 'reboot';
