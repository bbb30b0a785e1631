/** What is made of the binary interface's tables: parts of docs/write-a-hypervisor.md, and declarations for other languages. */
import { readFileSync } from 'node:fs';
import { operations } from '../src/paravirt/operations.ts';
import { REGISTERS, SEGMENTS } from '../src/paravirt/processor.ts';
import { ABI_VERSION, IMPORT_MODULE, operationExports, otherExports, type Wire } from '../src/plugins/abi.ts';
import { imports } from '../src/plugins/imports.ts';

const root = new URL('../../', import.meta.url);
const VERSION = `${ABI_VERSION.major}.${ABI_VERSION.minor}`;

type Parameters = readonly (readonly [name: string, type: Wire])[];

/** The guide, with the parts between its markers made anew. */
export function hypervisorGuide(): string {
  const text = readFileSync(new URL('docs/write-a-hypervisor.md', root), 'utf8');
  const parts: Readonly<Record<string, () => string>> = {
    ops: operationsTable,
    exports: exportsTable,
    imports: importsTable,
    registers: registersTable,
  };
  return text.replace(/(<!-- made by npm run docs: (\w+) -->\n)[\s\S]*?(<!-- end -->)/g, (_all, begin, name, end) => {
    return `${begin}\n${parts[name]()}\n${end}`;
  });
}

const row = (...cells: string[]) => `| ${cells.map(cell => cell.replaceAll('|', '\\|')).join(' | ')} |\n`;
const head = (...cells: string[]) => row(...cells) + row(...cells.map(() => '---'));
const signature = (parameters: Parameters, result: Wire | undefined) =>
  `\`(${parameters.map(([name, type]) => `${name}: ${type}`).join(', ')})${result ? ` -> ${result}` : ''}\``;

function operationsTable(): string {
  const comments = operationComments();
  const rows = Object.entries(operations).flatMap(([group, members]) =>
    Object.keys(members).map(member => {
      const entry = operationExports.get(`${group}.${member}`);
      const exported = entry ? signature(entry.parameters, entry.result) : 'modules only';
      return row(`\`${group}.${member}\``, exported, comments.get(`${group}.${member}`) ?? '');
    }),
  );
  return head('op', 'as a binary exports it', 'when, and what native does') + rows.join('');
}

/** The comments in paravirt/operations.ts, by op. */
function operationComments(): Map<string, string> {
  const source = readFileSync(new URL('src/paravirt/operations.ts', root), 'utf8');
  const table = source.slice(source.indexOf('export const operations = {'), source.indexOf('} as const;'));
  const found = new Map<string, string>();
  let group = '';
  for (const match of table.matchAll(/^ {2}(\w+): \{|\/\*\*([\s\S]*?)\*\/\s+(\w+): operation\(/gm)) {
    if (match[1]) group = match[1];
    else
      found.set(
        `${group}.${match[3]}`,
        match[2]
          .replace(/^\s*\* ?/gm, ' ')
          .replace(/\s+/g, ' ')
          .replace('@returns', 'Answers')
          .trim(),
      );
  }
  return found;
}

function exportsTable(): string {
  return (
    head('export', 'type', 'what it is') +
    Object.entries(otherExports)
      .map(([name, { parameters, result, does }]) => row(`\`${name}\``, signature(parameters, result), does))
      .join('')
  );
}

function importsTable(): string {
  return (
    head('import', 'type', 'what it does') +
    Object.entries(imports)
      .map(([name, { parameters, result, does }]) => row(`\`${name}\``, signature(parameters, result), does))
      .join('')
  );
}

function registersTable(): string {
  const list = (names: readonly string[]) => names.map((name, place) => `${place} ${name}`).join(', ');
  return `Registers: ${list(REGISTERS)}.\n\nSegment registers: ${list(SEGMENTS)}.\n`;
}

const made = `Version ${VERSION} of Polyvisor's binary interface for hypervisors: see docs/write-a-hypervisor.md. Made by npm run docs.`;

/** Declarations for AssemblyScript: the file's name is the module's. */
export function assemblyScriptDeclarations(): string {
  const functions = Object.entries(imports).map(([name, { parameters, result, does }]) => {
    const list = parameters.map(([parameter, type]) => `${parameter}: ${isPointer(parameter) ? 'usize' : type}`);
    return `/** ${does} */\nexport declare function ${name}(${list.join(', ')}): ${result ?? 'void'};\n`;
  });
  return `/** ${made} */\n\n${functions.join('')}`;
}

/** The same for C and C++ (clang --target=wasm32). */
export function cHeader(): string {
  const types: Record<Wire, string> = { i32: 'int32_t', i64: 'int64_t' };
  const list = (parameters: Parameters) =>
    parameters
      .map(
        ([name, type]) =>
          `${isPointer(name) ? (name === 'into' ? 'void *' : 'const void *') : `${types[type]} `}${name}`,
      )
      .join(', ') || 'void';
  const functions = Object.entries(imports).map(
    ([name, { parameters, result, does }]) =>
      `/* ${does} */\nPOLYVISOR_IMPORT(${name}) ${result ? types[result] : 'void'} ${name}(${list(parameters)});\n`,
  );
  const exported = [...operationExports.values()].map(
    ({ name, parameters, result }) =>
      `POLYVISOR_EXPORT(${name}) ${result ? types[result] : 'void'} ${name}(${list(parameters)});\n`,
  );
  const registers = REGISTERS.map((name, place) => `  REGISTER_${name} = ${place},\n`).join('');
  return `/* ${made} */
#pragma once
#include <stdint.h>

#define POLYVISOR_IMPORT(name) __attribute__((import_module("${IMPORT_MODULE}"), import_name(#name)))
#define POLYVISOR_EXPORT(name) __attribute__((export_name(#name)))

enum polyvisor_register {
${registers}};

${functions.join('')}
/* What may be exported: define those that the manifest names. */
${exported.join('')}`;
}

/** Addresses in the binary's own memory. */
function isPointer(name: string): boolean {
  return name === 'into' || name === 'from';
}
