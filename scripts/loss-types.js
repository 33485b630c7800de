// The loss types of pairs, from the rows of SWEET_LOSS_TYPES in native/loss_types.h.
import { readFileSync } from 'node:fs';

const source = readFileSync(new URL('../native/loss_types.h', import.meta.url), 'utf8');
const ROW = /^ {2}TYPE\((\w+), (\w+), (\w+), "([^"]*)",[\s\\]*"([^"]*)"\)/gm;

/** In the order of the C++ values. `reference`: it compares with a reference; `perToken`: it divides by the length. */
export const lossTypes = [...source.matchAll(ROW)].map(([, name, kind, score, options, formula]) => ({
  name,
  kind,
  reference: /ratio/.test(score) && kind !== 'nll',
  perToken: /mean/.test(score),
  options: options.split(' ').filter((option) => option !== ''),
  formula,
}));
