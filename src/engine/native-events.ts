/** What the engine may deal with alone, because nobody wants to see it first. */
import { NATIVE_EXCEPTIONS, NATIVE_SPECULATION, NATIVE_SYSCALLS } from './x86/state.ts';

export interface NativeEvents {
  exceptions: boolean;
  syscalls: boolean;
  /** Writes of IA32_SPEC_CTRL and IA32_PRED_CMD. */
  speculation: boolean;
}

/** As state.NATIVE has them. */
export const nativeBits = ({ exceptions, syscalls, speculation }: NativeEvents): number =>
  (exceptions ? NATIVE_EXCEPTIONS : 0) | (syscalls ? NATIVE_SYSCALLS : 0) | (speculation ? NATIVE_SPECULATION : 0);
