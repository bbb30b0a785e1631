/** What a machine-process.ts can be asked, and differences of what it answers. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Statistics } from '../src/index.ts';
import type { CpuProfile } from './profile.ts';

export type Question = 'counters' | 'profile' | 'end profile';
export type Answer = Statistics | CpuProfile | 'started';

export async function ask(child: ChildProcess, question: 'counters'): Promise<Statistics>;
export async function ask(child: ChildProcess, question: 'profile'): Promise<'started'>;
export async function ask(child: ChildProcess, question: 'end profile'): Promise<CpuProfile>;
export async function ask(child: ChildProcess, question: Question): Promise<Answer> {
  const answered = once(child, 'message');
  child.send(question);
  const [answer] = await answered;
  return answer as Answer;
}

/** What was counted between two answers; texts are the later one's. Works on whatever counters the machine has. */
export function difference<T extends object>(after: T, before: T): T {
  const entries = Object.entries(after).map(([key, value]) => {
    const earlier = (before as Record<string, unknown>)[key];
    if (typeof value === 'number') return [key, value - ((earlier as number | undefined) ?? 0)];
    if (typeof value === 'object' && value !== null) return [key, difference(value, (earlier as object) ?? {})];
    return [key, value];
  });
  return Object.fromEntries(entries) as T;
}
