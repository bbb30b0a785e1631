/** A made-up report for tests: two kernels, three hypervisors, one of everything that can happen. */
import { type CellResult, cellWithoutBoot, FORMAT, type MatrixReport, PHASES } from './result.ts';

/** Text that would be markup, a script or a control character if it were not escaped. */
export const NASTY = '<script>alert(1)</script> & "quoted" \x1b[31m |pipe|';

export function exampleReport(): MatrixReport {
  return {
    format: FORMAT,
    polyvisor: '0.1.0',
    date: '2026-01-02T03:04:05.000Z',
    clock: 'virtual',
    test: 'built-in',
    kernels: [
      { name: '6.1.0-1', description: 'Linux 6.1.0-1 (bzImage, 64-bit)', file: 'vmlinuz-6.1.0-1', size: 8_000_000 },
      { name: 'broken', description: NASTY, file: 'broken', size: 100 },
    ],
    hypervisors: ['plain', 'quick', 'strict'].map(name => ({ name, title: `the ${name} one` })),
    cells: [
      passedCell('6.1.0-1', 'plain', 1),
      passedCell('6.1.0-1', 'quick', 0.5),
      cellWithoutBoot('6.1.0-1', 'strict', 'not built for it', 'built without CONFIG_STRICT'),
      {
        ...passedCell('broken', 'plain', 1),
        verdict: 'panicked',
        reason: `VFS: Unable to mount root fs ${NASTY}`,
        phase: 'drivers',
        phases: passedCell('', '', 1).phases.slice(0, 3),
        tests: [],
        console: `[    0.000000] Linux version\n${NASTY}\n[    1.000000] Kernel panic - not syncing: VFS\n`,
        state: 'rip ffffffff81000000 <_stext>',
      },
      {
        ...passedCell('broken', 'quick', 1),
        verdict: 'failed',
        reason: 'sleep: a sleep ended 9 ms early',
        tests: [{ name: 'sleep', outcome: 'failed', note: 'a sleep ended 9 ms early' }],
      },
      cellWithoutBoot('broken', 'strict', 'died', 'its process was ended by SIGKILL'),
    ],
    wallTime: 12.5,
    jobs: 2,
  };
}

/** @param cost how much it took, beside 1 */
export function passedCell(kernel: string, hypervisor: string, cost: number): CellResult {
  const spent = (share: number) => ({
    hostTime: 10 * share * cost,
    guestTime: share * cost,
    instructions: 1_000_000_000 * share * cost,
  });
  const shares = [0.1, 0.1, 0.4, 0.1, 0.25, 0.05];
  return {
    kernel,
    hypervisor,
    verdict: 'passed',
    reason: '',
    phase: 'power-off',
    phases: PHASES.map((phase, index) => ({ phase, ...spent(shares[index]!) })),
    total: spent(1),
    found: {
      hypervisor: 'Example',
      platform: 'Example',
      clocksource: 'tsc',
      clockevent: 'lapic-deadline',
      lines: ['Hypervisor detected: Example'],
      features: ['EXAMPLE_CALL', 'MSR_EXAMPLE_CLOCK'],
      complaints: [],
    },
    tests: [
      { name: 'fork-exec', outcome: 'passed', ...spent(0.1) },
      { name: 'sleep', outcome: 'passed', ...spent(0.01), value: 0.5, unit: 'ms late' },
      { name: 'disk', outcome: 'skipped', note: 'no disk' },
    ],
    counts: {
      exits: { 'port in': 1000 * cost, 'msr read': 100 },
      operations: { 'cpu.cpuid': 50, 'cpu.hypercall': 100_000 * cost },
      hypercalls: { EXAMPLE_CALL: 100_000 * cost },
      msrs: { 'write MSR_EXAMPLE_CLOCK': 1, 'read MSR_EXAMPLE_WHOSE_NAME_IS_WIDER_THAN_A_PHONE': 12_345_678 },
      ports: { 'out 0x3f8': 500 },
    },
    console: '[    0.000000] Linux version 6.1.0-1\n[    1.000000] reboot: Power down\n',
    consoleBytes: 70,
  };
}

/**
 * What of a text in Markdown is live: all but fenced blocks and spans of code (CommonMark 0.31, 4.5 and 6.1), which are left out as
 * `<code>`. Enough for reports, which indent nothing and have no markup that binds tighter than a span.
 */
export function liveMarkdown(text: string): string {
  const live: string[] = [];
  let fence: string | undefined;
  for (const line of text.split(/\r\n|\n|\r/)) {
    const [, run, words] = /^ {0,3}(`{3,})([^`]*)$/.exec(line) ?? /^ {0,3}(~{3,})(.*)$/.exec(line) ?? [];
    if (fence === undefined) {
      fence = run;
      live.push(run === undefined ? withoutSpans(line) : '<block>');
    } else if (run?.startsWith(fence) && words?.trim() === '') fence = undefined;
  }
  return live.join('\n');
}

/** A span begins with a run of backticks and ends with the next one of the same length; without one, they are text. */
function withoutSpans(line: string): string {
  let live = '';
  for (let at = 0; at < line.length; ) {
    const [run] = /^`*/.exec(line.slice(at))!;
    const end =
      run === '' ? undefined : [...line.slice(at + run.length).matchAll(/`+/g)].find(([other]) => other === run);
    if (run === '') live += line[at++];
    else if (!end) {
      live += run;
      at += run.length;
    } else {
      live += '<code>';
      at += run.length + end.index + run.length;
    }
  }
  return live;
}
