/**
 * The member of `object` under a name that comes from a guest, a file or a plug-in. Only its own one: what every object
 * inherits (`constructor`, `toString`, `__proto__`) is nothing that anybody has put there.
 */
export function ownMember<T>(object: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}
