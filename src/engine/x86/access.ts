/**
 * Bits of an access to memory, as the page walk takes them (page-walk.ts). The first three stand where the page-fault
 * error code has them.
 */

export const ACCESS_WRITE = 2;
/** A user access although CPL is not 3. */
export const ACCESS_USER = 4;
export const ACCESS_EXECUTE = 16;
/** A supervisor access whatever CPL says (descriptor tables, exception stacks). */
export const ACCESS_IMPLICIT = 32;
/** Do not enter the translation in the TLB. */
export const ACCESS_PROBE = 64;
/** Report no fault in the state, only by the result. */
export const ACCESS_QUIET = 128;
/** A look ahead at code that the guest may never reach: it may set no accessed flag, and fails where one is clear. */
export const ACCESS_NO_SIDE_EFFECT = 256;
/** Of `reach` alone: RAM that code was translated from may be written, too, and the engine is told. */
export const ACCESS_CODE = 512;
