/**
 * The keyboard controller (IBM PS/2 hardware interface technical reference) with nothing plugged in: enough that drivers
 * find a healthy controller with no second port at once, and that the old way to reset a PC works.
 */
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

export class I8042 implements Device {
  readonly name = 'i8042';
  /** Port 0x60. */
  readonly data: ByteRegisters = {
    readByte: () => this.#answers.shift() ?? 0,
    writeByte: (_offset, value) => this.#writeData(value),
  };
  /** Port 0x64: status when read, commands when written. */
  readonly command: ByteRegisters = {
    readByte: () => this.#status(),
    writeByte: (_offset, value) => this.#execute(value),
  };

  readonly #requestReset: () => void;
  readonly #answers: number[] = [];
  #configuration = CONFIGURATION_AT_RESET;
  /** The command whose parameter comes next over the data port, 0 for none. */
  #command = 0;
  #lastWasCommand = false;

  constructor(requestReset: () => void) {
    this.#requestReset = requestReset;
  }

  reset(): void {
    this.#answers.length = 0;
    this.#configuration = CONFIGURATION_AT_RESET;
    this.#command = 0;
    this.#lastWasCommand = false;
  }

  #status(): number {
    return (
      (this.#answers.length > 0 ? OUTPUT_FULL : 0) |
      (this.#configuration & SYSTEM_FLAG) |
      (this.#lastWasCommand ? COMMAND_WRITTEN : 0) |
      NOT_LOCKED
    );
  }

  #writeData(value: number): void {
    this.#lastWasCommand = false;
    const command = this.#command;
    this.#command = 0;
    if (command === 0x60) this.#configuration = value;
    else if (command === 0xd1 && !(value & 1)) this.#requestReset();
    else if (command === 0xd2 || command === 0xd3) this.#answer(value);
    // Anything else would go to a keyboard or mouse.
  }

  #execute(command: number): void {
    this.#lastWasCommand = true;
    this.#command = 0;
    switch (command) {
      case 0x20:
        return this.#answer(this.#configuration);
      case 0x60: // write configuration
      case 0xd1: // write output port
      case 0xd2: // put a byte into the output buffer, as if from the keyboard
      case 0xd3: // the same from the second port: there is none, so it comes back as the keyboard's
      case 0xd4: // send to the second port
        this.#command = command;
        return;
      case 0xaa:
        this.#configuration |= SYSTEM_FLAG;
        return this.#answer(SELF_TEST_PASSED);
      case 0xab:
        return this.#answer(PORT_GOOD);
      case 0xa9:
        return this.#answer(CLOCK_STUCK_LOW);
      case 0xad:
        this.#configuration |= 0x10;
        return;
      case 0xae:
        this.#configuration &= ~0x10;
        return;
      case 0xa7:
        this.#configuration |= 0x20;
        return;
      case 0xd0:
        return this.#answer(OUTPUT_PORT);
    }
    // 0xf0-0xff pulse the output lines named by zero bits; line 0 is the processor's reset.
    if (command >= 0xf0 && !(command & 1)) this.#requestReset();
  }

  /** One byte waits at a time; a guest that never reads cannot make it more. */
  #answer(value: number): void {
    this.#answers[0] = value;
  }
}
