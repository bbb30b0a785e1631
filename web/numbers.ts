/** Numbers as the page shows them. */

const whole = new Intl.NumberFormat('en');

export const count = (value: number): string => whole.format(Math.round(value));

/** `1.40 G`, `12.3 M`, `456`. */
export function short(value: number): string {
  for (const [unit, size] of [
    ['G', 1e9],
    ['M', 1e6],
    ['k', 1e3],
  ] as const)
    if (value >= size * 10) return `${(value / size).toFixed(value >= size * 100 ? 0 : 1)} ${unit}`;
    else if (value >= size) return `${(value / size).toFixed(2)} ${unit}`;
  return String(Math.round(value));
}

/** Nanoseconds as seconds. */
export const seconds = (nanoseconds: number, digits = 1): string => (nanoseconds / 1e9).toFixed(digits);
