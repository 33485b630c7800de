/** Duplicate keys in JSON, of which JSON.parse silently keeps the last. */

const quote = 0x22;
const backslash = 0x5c;

/**
 * The first duplicate key of an object.
 * @param text valid JSON
 */
export function duplicateKey(text: string): string | undefined {
  /** The keys of each open object; undefined for an open array. */
  const open: (Set<string> | undefined)[] = [];
  // After { and after a comma in an object, a string is a key.
  let expectsKey = false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === quote) {
      const begin = i;
      for (i++; text.charCodeAt(i) !== quote; i++) if (text.charCodeAt(i) === backslash) i++;
      if (!expectsKey) continue;
      expectsKey = false;
      const literal = text.slice(begin, i + 1);
      const key = literal.includes('\\') ? JSON.parse(literal) : literal.slice(1, -1);
      const keys = open.at(-1) as Set<string>;
      if (keys.has(key)) return key;
      keys.add(key);
    } else if (code === 0x7b /* { */) {
      open.push(new Set());
      expectsKey = true;
    } else if (code === 0x5b /* [ */) {
      open.push(undefined);
      expectsKey = false;
    } else if (code === 0x7d /* } */ || code === 0x5d /* ] */) {
      open.pop();
      expectsKey = false;
    } else if (code === 0x2c /* , */) {
      expectsKey = open.at(-1) !== undefined;
    }
  }
  return undefined;
}
