import { fileURLToPath } from 'node:url';

/** The clone's folder, seen from the compiled file in dist/bench/; ends with a slash. */
export const root = fileURLToPath(new URL('../../', import.meta.url));
