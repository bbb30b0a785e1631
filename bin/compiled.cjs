/* Sets the clone up and runs one of its compiled programs: node bin/compiled.cjs bench/main boot */
'use strict';

const path = require('node:path');
const { pathToFileURL } = require('node:url');

const root = path.dirname(__dirname);
require('./set-up.cjs').setUp(root);

const [program] = process.argv.splice(2, 1);
import(pathToFileURL(path.join(root, 'dist', `${program}.js`)).href);
