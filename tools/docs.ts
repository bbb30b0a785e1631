/** npm run docs: makes docs/interface.md from the hypervisors' tables, so that it cannot say what is not so. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { interfaceDocument } from './interface-document.ts';

const folder = fileURLToPath(new URL('../../docs/', import.meta.url));
mkdirSync(folder, { recursive: true });
writeFileSync(`${folder}interface.md`, interfaceDocument());
