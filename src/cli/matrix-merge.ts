/** `polyvisor matrix merge`: the reports of shards as one. */
import { MergeError, mergeReports } from '../matrix/merge.ts';
import { status } from './exit-status.ts';
import { Failure } from './failure.ts';
import { type ReportOutputs, readHistory, readReport, writeReports } from './matrix-output.ts';

/** @returns the exit status, as of the run. @throws Failure */
export function mergeCommand(files: readonly string[], outputs: ReportOutputs): number {
  const reports = files.map(file => ({ file, report: readReport(file, file) }));
  const earlier = readHistory(outputs.history);
  try {
    return writeReports(mergeReports(reports), outputs, earlier);
  } catch (error) {
    if (!(error instanceof MergeError)) throw error;
    throw new Failure(error.message, status.image);
  }
}
