/** Copies the stylesheet of Tailwind (MIT, its notice is in it) from the npm package: to install all of Tailwind would be 35 MB. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { gzipSync } from 'node:zlib';

const source = createRequire(import.meta.url).resolve('tailwindcss/dist/tailwind.min.css');
const folder = new URL('../assets/', import.meta.url);
mkdirSync(folder, { recursive: true });
writeFileSync(new URL('tailwind-2.2.19.min.css.gz', folder), gzipSync(readFileSync(source), { level: 9 }));
