export function plot(_: unknown, __: unknown): string {
  return '';
}
