/**
 * The keyboard controller (IBM PS/2 hardware interface technical reference) with nothing plugged in: enough that
 * drivers find a healthy controller with no second port at once, and that the old way to reset a PC works.
 */
import type { State, States } from '../state/state.ts';
import type { ByteRegisters } from './byte-ports.ts';
import type { Device } from './device.ts';

const OUTPUT_FULL = 0x01;
const SYSTEM_FLAG = 0x04;
const COMMAND_WRITTEN = 0x08;
const NOT_LOCKED = 0x10;

/** Both clocks off, no interrupts, scan codes translated, self-test passed. */
const CONFIGURATION_AT_RESET = 0x74;
const SELF_TEST_PASSED = 0x55;
/** The test of a port that is not there: its clock line is stuck low. */
const CLOCK_STUCK_LOW = 0x01;
const PORT_GOOD = 0x00;
/** Output port: A20 on, processor not in reset. */
const OUTPUT_PORT = 0x03;

const initial = () => ({
  /** The output buffer: bytes for the guest. */
  answers: [] as number[],
  configuration: CONFIGURATION_AT_RESET,
  /** The command whose parameter comes next over the data port, 0 for none. */
  command: 0,
  lastWasCommand: false,
});

export class I8042 implements Device {
  readonly name = 'i8042';
  /** Port 0x60. */
  readonly data: ByteRegisters = {
    readByte: () => this.#state.answers.shift() ?? 0,
    writeByte: (_offset, value) => this.#writeData(value),
  };
  /** Port 0x64: status when read, commands when written. */
  readonly command: ByteRegisters = {
    readByte: () => this.#status(),
    writeByte: (_offset, value) => this.#execute(value),
  };

  readonly #requestReset: () => void;
  readonly #state: State<ReturnType<typeof initial>>;

  constructor(states: States, requestReset: () => void) {
    this.#state = states.state(this.name, 1, initial);
    this.#requestReset = requestReset;
  }

  reset(): void {
    this.#state.initialise();
  }

  #status(): number {
    return (
      (this.#state.answers.length > 0 ? OUTPUT_FULL : 0) |
      (this.#state.configuration & SYSTEM_FLAG) |
      (this.#state.lastWasCommand ? COMMAND_WRITTEN : 0) |
      NOT_LOCKED
    );
  }

  #writeData(value: number): void {
    this.#state.lastWasCommand = false;
    const command = this.#state.command;
    this.#state.command = 0;
    if (command === 0x60) this.#state.configuration = value;
    else if (command === 0xd1 && !(value & 1)) this.#requestReset();
    else if (command === 0xd2 || command === 0xd3) this.#answer(value);
    // Anything else would go to a keyboard or mouse.
  }

  #execute(command: number): void {
    this.#state.lastWasCommand = true;
    this.#state.command = 0;
    switch (command) {
      case 0x20:
        return this.#answer(this.#state.configuration);
      case 0x60: // write configuration
      case 0xd1: // write output port
      case 0xd2: // put a byte into the output buffer, as if from the keyboard
      case 0xd3: // the same from the second port; without that port it comes back as the keyboard's
      case 0xd4: // send to the second port
        this.#state.command = command;
        return;
      case 0xaa:
        this.#state.configuration |= SYSTEM_FLAG;
        return this.#answer(SELF_TEST_PASSED);
      case 0xab:
        return this.#answer(PORT_GOOD);
      case 0xa9:
        return this.#answer(CLOCK_STUCK_LOW);
      case 0xad:
        this.#state.configuration |= 0x10;
        return;
      case 0xae:
        this.#state.configuration &= ~0x10;
        return;
      case 0xa7:
        this.#state.configuration |= 0x20;
        return;
      case 0xd0:
        return this.#answer(OUTPUT_PORT);
    }
    // 0xf0-0xff pulse the output lines named by zero bits; line 0 is the processor's reset.
    if (command >= 0xf0 && !(command & 1)) this.#requestReset();
  }

  /** One byte waits at a time; a guest that never reads cannot make it more. */
  #answer(value: number): void {
    this.#state.answers[0] = value;
  }
}
