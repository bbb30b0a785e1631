/** Whether a value that somebody else has made is of a shape: small checks that are put together to larger ones. */
import { ownMember } from '../own-member.ts';

export type Check = (value: unknown) => boolean;

export const text: Check = value => typeof value === 'string';
export const number: Check = value => typeof value === 'number' && Number.isFinite(value);
export const truth: Check = value => typeof value === 'boolean';
export const optional =
  (check: Check): Check =>
  value =>
    value === undefined || check(value);
export const listOf =
  (check: Check): Check =>
  value =>
    Array.isArray(value) && value.every(check);
export const oneOf =
  (words: readonly string[]): Check =>
  value =>
    words.includes(value as string);
const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
/** An object whose members, whatever they are called, are all of a kind. */
export const tableOf =
  (check: Check): Check =>
  value =>
    isObject(value) && Object.values(value).every(check);
/** An object with at least these members. */
export const shape =
  (members: Readonly<Record<string, Check>>): Check =>
  value =>
    isObject(value) && Object.entries(members).every(([name, check]) => check(ownMember(value, name)));
