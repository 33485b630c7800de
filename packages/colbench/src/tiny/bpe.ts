/** Byte-level byte-pair encoding: training of merges, as in GPT-2 and Llama 3. */

/**
 * Splits a text into pieces that merges do not cross: contractions, words with one character before them, at most three digits,
 * punctuation, line ends, spaces.
 *
 * @see the pattern of Llama 3's tokenizer.json; its (?i:...) is written out, since not every engine has inline flags
 */
export const PIECES =
  "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|" +
  '[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';

/**
 * The printable character that stands for each byte in a tokenizer.json: itself where it is printable and no space, else the next
 * one from U+0100 on.
 */
export const BYTE_CHARACTERS: readonly string[] = (() => {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const isPrintable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    return String.fromCodePoint(isPrintable ? byte : next++);
  });
})();

export interface Bpe {
  /** Tokens by id: the 256 bytes, then one a merge. */
  tokens: string[];
  /** The two parts of each merge, first the most frequent. */
  merges: [string, string][];
}

interface Piece {
  ids: number[];
  count: number;
}

/**
 * Trains merges on a text. Ties go to the pair of lower ids, so that a text gives the same merges everywhere.
 *
 * @param size entries at most, bytes included; fewer where no pair occurs twice
 */
export function trainBpe(text: string, size: number): Bpe {
  const counts = new Map<string, number>();
  for (const [piece] of text.matchAll(new RegExp(PIECES, 'gu'))) counts.set(piece, (counts.get(piece) ?? 0) + 1);
  const pieces: Piece[] = [...counts].map(([piece, count]) => ({ ids: [...Buffer.from(piece)], count }));

  // Occurrences of each pair, and the pieces that have had it. The key of a pair is first * 2^16 + second.
  const occurrences = new Map<number, number>();
  const holders = new Map<number, Set<Piece>>();
  const add = (piece: Piece, sign: 1 | -1) => {
    for (let i = 1; i < piece.ids.length; i++) {
      const key = (piece.ids[i - 1] as number) * 65536 + (piece.ids[i] as number);
      occurrences.set(key, (occurrences.get(key) ?? 0) + sign * piece.count);
      if (sign < 0) continue;
      const pieces = holders.get(key);
      if (pieces) pieces.add(piece);
      else holders.set(key, new Set([piece]));
    }
  };
  for (const piece of pieces) add(piece, 1);

  const tokens = [...BYTE_CHARACTERS];
  const merges: [string, string][] = [];
  while (tokens.length < size) {
    let [best, most] = [-1, 1];
    for (const [key, count] of occurrences) {
      if (count > most || (count === most && best >= 0 && key < best)) [best, most] = [key, count];
    }
    if (best < 0) break;
    const [first, second] = [Math.floor(best / 65536), best % 65536];
    for (const piece of holders.get(best) ?? []) {
      add(piece, -1);
      piece.ids = merged(piece.ids, first, second, tokens.length);
      add(piece, 1);
    }
    occurrences.delete(best);
    holders.delete(best);
    merges.push([tokens[first] as string, tokens[second] as string]);
    tokens.push((tokens[first] as string) + (tokens[second] as string));
  }
  return { tokens, merges };
}

function merged(ids: readonly number[], first: number, second: number, id: number): number[] {
  const result: number[] = [];
  for (let i = 0; i < ids.length; i++) {
    const isPair = ids[i] === first && ids[i + 1] === second;
    result.push(isPair ? id : (ids[i] as number));
    if (isPair) i++;
  }
  return result;
}
