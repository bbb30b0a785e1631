/**
 * The two words every op may be answered with instead of a function. An op is `native` (what bare hardware does; the
 * translator may write it inline), `nothing` (no code at all), or a function (a call out). VMI's relocation types and
 * Linux's call-site patching say the same three words.
 */
export const native = Symbol('native');
export const nothing = Symbol('nothing');
export type Native = typeof native;
export type Nothing = typeof nothing;

/** An op that may be any of the three. */
export type Op<F> = Native | Nothing | F;
