/**
 * The keyboard controller (IBM PS/2 hardware interface technical reference) with a keyboard and no second port. It is also
 * the old way to reset a PC.
 */
import type { State, States } from '../state/state.ts';
import type { ByteRegisters } from './byte-ports.ts';
import type { Device, InterruptLine } from './device.ts';
import { Ps2Keyboard } from './ps2-keyboard.ts';

const OUTPUT_FULL = 0x01;
const SYSTEM_FLAG = 0x04;
const COMMAND_WRITTEN = 0x08;
const NOT_LOCKED = 0x10;

/** The configuration byte; SYSTEM_FLAG is another bit of it. */
const KEYBOARD_INTERRUPT = 0x01;
const KEYBOARD_OFF = 0x10;
const TRANSLATE = 0x40;

/** Both clocks off, no interrupts, scan codes translated, self-test passed. */
const CONFIGURATION_AT_RESET = 0x74;
const SELF_TEST_PASSED = 0x55;
/** The test of a port that is not there: its clock line is stuck low. */
const CLOCK_STUCK_LOW = 0x01;
const PORT_GOOD = 0x00;
/**
 * Translation of scan code set 2 to set 1, of those bytes below 85h that a keyboard without keys sends: numbers of scan code
 * sets, and the second byte of its identity.
 */
const TRANSLATED: Readonly<Record<number, number>> = { 1: 0x43, 2: 0x41, 3: 0x3f, 0x83: 0x41 };
/** Output port: A20 on, processor not in reset. */
const OUTPUT_PORT = 0x03;

const initial = () => ({
  /** The output buffer: no byte for the guest, or one. */
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
    readByte: () => this.#readData(),
    writeByte: (_offset, value) => this.#writeData(value),
  };
  /** Port 0x64: status when read, commands when written. */
  readonly command: ByteRegisters = {
    readByte: () => this.#status(),
    writeByte: (_offset, value) => this.#execute(value),
  };

  readonly #line: InterruptLine;
  readonly #requestReset: () => void;
  readonly #state: State<ReturnType<typeof initial>>;
  readonly #keyboard: Ps2Keyboard;

  /** @param line IRQ 1 */
  constructor(states: States, line: InterruptLine, requestReset: () => void) {
    this.#state = states.state(this.name, 1, initial);
    this.#keyboard = new Ps2Keyboard(states);
    this.#line = line;
    this.#requestReset = requestReset;
  }

  reset(): void {
    this.#state.initialise();
    this.#keyboard.reset();
    this.#update();
  }

  /** Takes the keyboard's next byte where there is room for it, and drives the interrupt's line. */
  #update(): void {
    const { answers, configuration } = this.#state;
    if (answers.length === 0 && !(configuration & KEYBOARD_OFF)) {
      const byte = this.#keyboard.send();
      if (byte !== undefined) answers[0] = (configuration & TRANSLATE ? TRANSLATED[byte] : undefined) ?? byte;
    }
    this.#line.set(answers.length > 0 && (configuration & KEYBOARD_INTERRUPT) !== 0);
  }

  #readData(): number {
    const byte = this.#state.answers.shift() ?? 0;
    // Each byte is an edge of its own.
    this.#line.set(false);
    this.#update();
    return byte;
  }

  #configure(configuration: number): void {
    this.#state.configuration = configuration;
    this.#update();
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
    if (command === 0x60) this.#configure(value);
    else if (command === 0xd1 && !(value & 1)) this.#requestReset();
    else if (command === 0xd2 || command === 0xd3) this.#answer(value);
    else if (command === 0) {
      this.#keyboard.receive(value);
      // Sending to the keyboard switches it on.
      this.#configure(this.#state.configuration & ~KEYBOARD_OFF);
    }
    // Anything else would go to a mouse.
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
        return this.#configure(this.#state.configuration | KEYBOARD_OFF);
      case 0xae:
        return this.#configure(this.#state.configuration & ~KEYBOARD_OFF);
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
    this.#update();
  }
}
