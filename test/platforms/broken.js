// Whether scripts/check-symbols.js finds what is wrong: it must refuse each binary after one part of it was overwritten.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { faultsOfAddon } from '../../scripts/check-symbols.js';
import { PLATFORMS } from '../../scripts/platforms.js';

/** Overwrites `from` wherever it is, and what is left of its length with zeros. */
const text = (from, to) => (bytes) => {
  if (!bytes.includes(from, 0, 'latin1')) throw new Error(`There is no ${JSON.stringify(from)}`);
  for (let at = bytes.indexOf(from, 0, 'latin1'); at >= 0; at = bytes.indexOf(from, at + 1, 'latin1')) {
    bytes.fill(0, at, at + from.length).write(to, at, 'latin1');
  }
};
const byte = (at, value) => (bytes) => void bytes.writeUInt8(value, at);
const flipped = (at) => (bytes) => void bytes.writeUInt8(bytes[at] ^ 1, at);

const ENTRY = [
  text('napi_register_module_v1\0', 'napi_register_module_vX\0'),
  /lacks the entry point napi_register_module_v1/,
];
const ELF = [
  ENTRY,
  [text('napi_register_module_v1\0', 'napi_register_module_vX\0'), /shows napi_register_module_vX to the process/],
  [
    text('\0napi_create_function\0', '\0napi_create_functioX\0'),
    /needs napi_create_functioX, which is no function of Node-API 8/,
  ],
  [byte(18, 40), /is for undefined/],
];

/** By the start of the platform's name: [what is overwritten, what must be said]. */
const FAULTS = {
  'linux-x64-glibc': [
    ...ELF,
    [text('libstdc++.so.6\0', 'libstdc--.so.6\0'), /needs the library libstdc--/],
    [text('GLIBC_2.14\0', 'GLIBC_2.99\0'), /needs memcpy of GLIBC_2\.99/],
  ],
  'linux-x64-musl': [
    ...ELF,
    [text('\0libc.so\0', '\0libm.so\0'), /does not need musl's libc\.so/],
    [text('\0fopen\0', '\0fopeX\0'), /needs fopeX/],
    [text('\0fopen\0', '\0statx\0'), /needs statx/],
  ],
  win32: [
    ENTRY,
    [text('KERNEL32.dll\0', 'msvcrt.dll\0'), /needs msvcrt\.dll/],
    [text('node.exe\0', 'nodX.exe\0'), /does not delay-load node\.exe/],
    [
      text('napi_create_function\0', 'napi_create_functioX\0'),
      /needs napi_create_functioX, which is no function of Node-API 8/,
    ],
    [(bytes) => byte(bytes.readUInt32LE(0x3c) + 4, 0x4c)(bytes), /is for undefined/],
    [byte(0x3c, 0), /is no 64-bit PE file/],
  ],
  darwin: [
    ENTRY,
    [flipped(0x4000), /has a signature that does not fit page/],
    [text('/usr/lib/libSystem.B.dylib\0', '/usr/lib/libstdc++.6.dylib\0'), /does not need libSystem/],
    [byte(12, 6), /is a dylib, not a bundle/],
    [text('\0\0\x0b\0\0\0\x0b\0', '\0\0\x0c\0\0\0\x0c\0'), /needs macOS 12/],
    [text('_napi_create_function\0', '_napi_create_functioX\0'), /needs _napi_create_functioX/],
    [byte(0, 0), /is no 64-bit Mach-O file/],
  ],
};

/** What was not found, in words; `folder` gets the broken binaries. */
export function undetected(root, folder) {
  const problems = [];
  let tried = 0;
  for (const [name, { file }] of Object.entries(PLATFORMS)) {
    const faults = Object.entries(FAULTS).find(([start]) => name.startsWith(start))?.[1] ?? [];
    if (faults.length === 0 || !existsSync(join(root, 'prebuilds', file))) continue;
    const copy = join(folder, 'broken', file);
    mkdirSync(dirname(copy), { recursive: true });
    for (const [overwrite, expected] of faults) {
      const bytes = readFileSync(join(root, 'prebuilds', file));
      overwrite(bytes);
      writeFileSync(copy, bytes);
      const found = faultsOfAddon(copy);
      tried++;
      if (!found.some((fault) => expected.test(fault)))
        problems.push(`${name}: expected ${expected} but found ${found}`);
    }
  }
  console.log(`${tried} broken binaries, ${problems.length} not refused as expected`);
  return problems;
}
