/**
 * npm run docs: makes docs/interface.md and the kit's header from the hypervisors' tables, and what docs/write-a-hypervisor.md lists
 * from those of the binary interface, so that they cannot say what is not so; and
 * src/matrix/threads-program.ts from guests/threads.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { assemblyScriptDeclarations, cHeader, hypervisorGuide } from './binary-interface.ts';
import { interfaceDocument } from './interface-document.ts';
import { kitHeader } from './kit-header.ts';
import { threadsProgram } from './threads-program.ts';

const folder = fileURLToPath(new URL('../../docs/', import.meta.url));
mkdirSync(folder, { recursive: true });
writeFileSync(`${folder}interface.md`, interfaceDocument());
writeFileSync(`${folder}write-a-hypervisor.md`, hypervisorGuide());
writeFileSync(`${folder}polyvisor_1.h`, cHeader());
writeFileSync(`${folder}../examples/acme-binary/polyvisor_1.ts`, assemblyScriptDeclarations());
writeFileSync(`${folder}../kit/include/interface.h`, kitHeader());
writeFileSync(`${folder}../src/matrix/threads-program.ts`, threadsProgram());
