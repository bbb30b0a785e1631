/**
 * Crash registers (TLFS 3.13.2, "guest crash enlightenment"): a kernel that panics leaves five numbers, or a message,
 * and says so. The run then ends with them.
 */
import type { HypervisorContext, Msr } from '../../paravirt/operations.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';

const HV_X64_MSR_CRASH_P0 = 0x40000100;
const HV_X64_MSR_CRASH_CTL = 0x40000105;
const PARAMETERS = 5;

/** HV_X64_MSR_CRASH_CTL: read, what is offered; written, what has happened. */
const HV_CRASH_CTL_CRASH_NOTIFY = 1n << 63n;
/** P3 is the guest-physical address of a text, P4 its length in bytes. */
const HV_CRASH_CTL_CRASH_NOTIFY_MSG = 1n << 62n;
const OFFERED = HV_CRASH_CTL_CRASH_NOTIFY | HV_CRASH_CTL_CRASH_NOTIFY_MSG;

/** Characters of the guest's text that are shown. */
const LONGEST_LINE = 200;

/**
 * The line of a kernel's last words that says why: the text after "panic:" or Linux's longer form, or else the last
 * line.
 */
function essence(text: string): string | undefined {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the guest may not talk to the user's terminal
  const lines = text.split('\n').map(line => line.replace(/[\x00-\x1f\x7f-\x9f]/g, '').trim());
  const panics = lines.flatMap(line => /\bpanic(?: - not syncing)?: (.*)/i.exec(line)?.[1] ?? []);
  return (panics.at(-1) ?? lines.findLast(line => line !== ''))?.slice(0, LONGEST_LINE);
}

/** The crash registers, by number. */
export function createCrash(context: HypervisorContext): Readonly<Record<number, Msr>> {
  const { memory, request } = context;
  const state = context.state('hyperv/crash', 1, () => ({ parameters: new BigUint64Array(PARAMETERS) }));

  const message = (): string | undefined => {
    const { parameters } = state;
    const address = Number(parameters[3]);
    const length = Number(parameters[4] > BigInt(PAGE_SIZE) ? PAGE_SIZE : parameters[4]);
    if (!memory.has(address, length)) return undefined;
    return essence(new TextDecoder().decode(memory.copyOut(address, length)));
  };

  const msrs: Record<number, Msr> = {
    [HV_X64_MSR_CRASH_CTL]: {
      name: 'HV_X64_MSR_CRASH_CTL',
      read: () => OFFERED,
      write(_cpu, value) {
        if (!(value & HV_CRASH_CTL_CRASH_NOTIFY)) return true;
        const text = value & HV_CRASH_CTL_CRASH_NOTIFY_MSG ? message() : undefined;
        const numbers = Array.from(state.parameters, (value, index) => `P${index} 0x${value.toString(16)}`).join(', ');
        request('crash', `${text ? `${text} ` : ''}(crash registers: ${numbers})`);
        return true;
      },
    },
  };
  for (let index = 0; index < PARAMETERS; index++)
    msrs[HV_X64_MSR_CRASH_P0 + index] = {
      name: `HV_X64_MSR_CRASH_P${index}`,
      read: () => state.parameters[index],
      write(_cpu, value) {
        state.parameters[index] = value;
        return true;
      },
    };
  return msrs;
}
