/**
 * A PS/2 keyboard (IBM PS/2 hardware interface technical reference, "keyboard and auxiliary device controller" and "keyboards
 * (101- and 102-key)"): it answers all commands, and nobody presses its keys. What is typed comes over the serial port.
 */
import type { State, States } from '../state/state.ts';

const ACKNOWLEDGE = 0xfa;
const RESEND = 0xfe;
const TEST_PASSED = 0xaa;
const ECHO = 0xee;
/** What a keyboard with 101 or 102 keys says of itself. */
const IDENTITY = [0xab, 0x83];
const SCAN_CODE_SETS = 3;

const SET_INDICATORS = 0xed;
const SELECT_SCAN_CODES = 0xf0;
const READ_IDENTITY = 0xf2;
const SET_RATE = 0xf3;
const ENABLE = 0xf4;
const DISABLE = 0xf5;
const SET_DEFAULTS = 0xf6;
/** From here to 0xfa: how all keys of scan code set 3 behave. */
const ALL_KEYS_FIRST = 0xf7;
const ALL_KEYS_LAST = 0xfa;
const RESET = 0xff;

const LOWEST_COMMAND = SET_INDICATORS;

/** What it is after it has been switched on. */
const initial = () => ({
  /** Bytes for the controller. A command makes at most three, and takes the place of what the one before has left. */
  output: [] as number[],
  /** For the command "resend". */
  lastSent: TEST_PASSED,
  /** The command whose parameter comes next, 0 for none. */
  command: 0,
  scanning: true,
  scanCodeSet: 2,
  /** Scroll, num and caps lock, from bit 0. */
  indicators: 0,
  /** Typematic rate and delay: 10.9 characters a second, 500 ms. */
  rate: 0x2b,
});

export class Ps2Keyboard {
  readonly #state: State<ReturnType<typeof initial>>;

  constructor(states: States) {
    this.#state = states.state('ps2-keyboard', 1, initial);
  }

  reset(): void {
    this.#state.initialise();
  }

  /** The next byte that it sends, if there is one. */
  send(): number | undefined {
    const byte = this.#state.output.shift();
    if (byte !== undefined && byte !== RESEND) this.#state.lastSent = byte;
    return byte;
  }

  /** It is sent a command or a parameter. */
  receive(byte: number): void {
    const state = this.#state;
    const { command } = state;
    state.command = 0;
    // A command where a parameter was due ends the one before.
    state.output = command !== 0 && byte < LOWEST_COMMAND ? this.#parameter(command, byte) : this.#execute(byte);
  }

  #execute(command: number): number[] {
    const state = this.#state;
    switch (command) {
      case ECHO:
        return [ECHO];
      case READ_IDENTITY:
        return [ACKNOWLEDGE, ...IDENTITY];
      case SET_INDICATORS:
      case SELECT_SCAN_CODES:
      case SET_RATE:
        state.command = command;
        return [ACKNOWLEDGE];
      case ENABLE:
        state.scanning = true;
        return [ACKNOWLEDGE];
      case DISABLE:
      case SET_DEFAULTS: {
        const { rate, scanCodeSet } = initial();
        Object.assign(state, { rate, scanCodeSet, scanning: command === SET_DEFAULTS });
        return [ACKNOWLEDGE];
      }
      case RESEND:
        return [state.lastSent];
      case RESET: {
        const { rate, scanCodeSet, indicators } = initial();
        Object.assign(state, { rate, scanCodeSet, indicators, scanning: true });
        return [ACKNOWLEDGE, TEST_PASSED];
      }
    }
    return command >= ALL_KEYS_FIRST && command <= ALL_KEYS_LAST ? [ACKNOWLEDGE] : [RESEND];
  }

  #parameter(command: number, value: number): number[] {
    const state = this.#state;
    if (command === SET_INDICATORS) state.indicators = value & 7;
    else if (command === SET_RATE) state.rate = value & 0x7f;
    else if (value === 0) return [ACKNOWLEDGE, state.scanCodeSet];
    else if (value > SCAN_CODE_SETS) return [RESEND];
    else state.scanCodeSet = value;
    return [ACKNOWLEDGE];
  }
}
