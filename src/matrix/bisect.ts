/** What a run says to `git bisect run`: the kernel is good, it is bad, or it cannot be judged. */
import { isGood, type MatrixReport, type Verdict } from './result.ts';
import { isSuccess } from './summary.ts';

export interface Judgement {
  word: 'good' | 'bad' | 'skip';
  /** One sentence; empty for what is good. */
  reason: string;
}

/** Verdicts about something else than the change that is looked for. */
const UNJUDGED: readonly Verdict[] = ['unusable', 'not built for it', 'died'];

/**
 * @param control the hypervisor that tells a kernel which is broken altogether from one that is broken for the others: where it did not
 * come to its test there, nothing is known
 */
export function judgeForBisect(report: MatrixReport, control: string): Judgement {
  const name = ({ kernel, hypervisor }: { kernel: string; hypervisor: string }) => `${kernel} on ${hypervisor}`;
  for (const cell of report.cells) {
    const { hypervisor, verdict, reason } = cell;
    if (hypervisor === control && verdict !== 'passed' && verdict !== 'failed')
      return { word: 'skip', reason: `${name(cell)}, the control: ${verdict}: ${reason}` };
  }
  const cells = report.cells.filter(({ hypervisor }) => hypervisor !== control);
  const unjudged = cells.find(({ verdict }) => UNJUDGED.includes(verdict));
  const bad = cells.find(cell => !UNJUDGED.includes(cell.verdict) && !isSuccess({ ...report, cells: [cell] }));
  if (bad) {
    const worse = bad.changes?.find(change => change.worse);
    const reason = isGood(bad.verdict)
      ? `worse than the baseline: ${worse!.what}: ${worse!.before} -> ${worse!.after}`
      : `${bad.verdict}: ${bad.reason}`;
    return { word: 'bad', reason: `${name(bad)}: ${reason}` };
  }
  if (unjudged) return { word: 'skip', reason: `${name(unjudged)}: ${unjudged.verdict}: ${unjudged.reason}` };
  return { word: 'good', reason: '' };
}
