// What a Windows DLL (PE32+) imports and exports. The format: learn.microsoft.com/windows/win32/debug/pe-format
const MACHINES = { 34404: 'x64', 43620: 'arm64' };
const DIRECTORY = { exports: 0, imports: 1, delayed: 13 };

/** { arch, imports, delayed: [{ library, names }], exports: names, debug: whether it has symbols or debug sections }. */
export function readPe(bytes) {
  const coff = bytes.readUInt32LE(0x3c) + 4;
  const optional = coff + 20;
  if (bytes.toString('latin1', coff - 4, coff) !== 'PE\0\0' || bytes.readUInt16LE(optional) !== 0x20b) {
    throw new Error('is no 64-bit PE file');
  }
  const sections = readSections(bytes, coff);
  const at = (rva) => {
    const section = sections.find(({ address, size }) => rva >= address && rva < address + size);
    if (section === undefined) throw new Error(`points to 0x${rva.toString(16)}, which is in no section`);
    return section.offset + rva - section.address;
  };
  const text = (rva) => bytes.toString('latin1', at(rva), bytes.indexOf(0, at(rva)));
  const directory = (index) => bytes.readUInt32LE(optional + 112 + 8 * index);

  const namesOf = (rva) => {
    const names = [];
    for (let offset = at(rva); ; offset += 8) {
      const entry = bytes.readBigUInt64LE(offset);
      if (entry === 0n) return names;
      names.push(entry >> 63n ? `#${entry & 0xffffn}` : text(Number(entry) + 2)); // behind a hint of 2 bytes
    }
  };
  const librariesOf = (rva, size, name, lookup) => {
    const libraries = [];
    for (let entry = rva === 0 ? undefined : at(rva); entry !== undefined; entry += size) {
      if (bytes.readUInt32LE(entry + name) === 0) break;
      const library = text(bytes.readUInt32LE(entry + name));
      libraries.push({ library, names: namesOf(bytes.readUInt32LE(entry + lookup)) });
    }
    return libraries;
  };
  const exported = () => {
    if (directory(DIRECTORY.exports) === 0) return [];
    const table = at(directory(DIRECTORY.exports));
    const names = at(bytes.readUInt32LE(table + 32));
    return Array.from({ length: bytes.readUInt32LE(table + 24) }, (_, i) => text(bytes.readUInt32LE(names + 4 * i)));
  };
  return {
    arch: MACHINES[bytes.readUInt16LE(coff)],
    imports: librariesOf(directory(DIRECTORY.imports), 20, 12, 0),
    delayed: librariesOf(directory(DIRECTORY.delayed), 32, 4, 16),
    exports: exported(),
    debug: bytes.readUInt32LE(coff + 12) > 0,
  };
}

function readSections(bytes, coff) {
  const first = coff + 20 + bytes.readUInt16LE(coff + 16);
  return Array.from({ length: bytes.readUInt16LE(coff + 2) }, (_, i) => {
    const header = first + 40 * i;
    const [size, address, , offset] = [8, 12, 16, 20].map((field) => bytes.readUInt32LE(header + field));
    return { size, address, offset };
  });
}
