// Faults made on purpose: what the checks of native/cuda (test/cuda/mutate.js) and of the rest (test/mutate) share.

/** A source with its fault; throws where the right part is not there exactly once. */
export function broken(source, [file, what, from, to]) {
  const parts = source.split(from);
  if (parts.length === 2) return parts.join(to);
  throw new Error(`Expected once, for '${what}', but found ${parts.length - 1} times in ${file}: ${from}`);
}

/** A line of a table in Markdown. */
export function row(...cells) {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll(/\s+/g, ' ')).join(' | ')} |`;
}
