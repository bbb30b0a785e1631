/** What a guest says of the hypervisor it found, read off the lines of its console, and what it uses, read off the counts. */
import type { CellCounts, Found } from './result.ts';
import { COMPLAINT } from './test-script.ts';

/** `[    0.123456] ` before a line, with the processor's or thread's number where the kernel is so configured. */
const STAMP = /^\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? /;
const KEPT_LINES = 60;
const LONGEST_LINE = 300;

/** Linux, arch/x86/kernel/cpu/hypervisor.c and the pv_ops' banners, across the years. */
const DETECTED = /^Hypervisor detected: (.+)/;
const PLATFORM = /^Booting (?:paravirtualized )?kernel on (.+)/;
const COMPLAINS = new RegExp(COMPLAINT);

/** Reads along. */
export function createFinder(hypervisor: string) {
  const found: Found = { lines: [], features: [], complaints: [] };
  // A kernel calls its hypervisor by the first word of the name we give it, with hyphens or capitals of its own.
  const word = new RegExp(`\\b${escapeExpression(hypervisor.split('-')[0]!)}`);
  const keep = (list: string[], line: string) => {
    if (list.length < KEPT_LINES && !list.includes(line)) list.push(line.slice(0, LONGEST_LINE));
  };
  return {
    line(text: string): void {
      if (!STAMP.test(text)) return;
      const line = text.replace(STAMP, '').trim();
      const detected = DETECTED.exec(line)?.[1];
      const platform = PLATFORM.exec(line)?.[1];
      if (detected !== undefined) found.hypervisor = detected;
      if (platform !== undefined) found.platform = platform;
      const plain = line.toLowerCase().replaceAll('-', '');
      if (detected || platform || word.test(plain) || /\bparavirt|\bpv ?(?:spinlock|ipi|eoi|qspin|tlb)/.test(plain))
        keep(found.lines, line);
      if (COMPLAINS.test(line)) keep(found.complaints, line);
    },
    /** What the test's script learned. */
    fact(name: string, value: string): void {
      if (name === 'clocksource') found.clocksource = value.slice(0, 64);
      if (name === 'clockevent') found.clockevent = value.slice(0, 64);
      if (name === 'complaint') keep(found.complaints, value.replace(STAMP, '').trim());
    },
    /** @param own names of the registers that the hypervisor adds */
    result(counts: CellCounts, own: ReadonlySet<string>): Found {
      const registers = Object.keys(counts.msrs).filter(key => key.startsWith('write ') && own.has(key.slice(6)));
      const features = [...Object.keys(counts.hypercalls), ...registers.map(key => key.slice(6))].sort();
      return { ...found, features };
    },
  };
}

/** A hypervisor from a file is called what it likes. */
const escapeExpression = (text: string) => text.replaceAll(/[^\w\s]/g, '\\$&');
