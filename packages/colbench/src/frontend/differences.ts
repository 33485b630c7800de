/** The largest differences of two laid-out pages, as sentences: colours, columns, texts, sizes. */
import type { LaidOutElement, Rendering } from './types.js';

type Layout = Pick<Rendering, 'width' | 'height' | 'elements'>;

/** Sentences in one reply. */
const mostRemarks = 4;
/** Characters of a text that is quoted. */
const mostQuoted = 80;

interface Remark {
  /** How much of the page differs, from 0 to 1. */
  weight: number;
  text: string;
}

/** Sentences on what the page must have, the largest difference first; none where the layouts agree. */
export function differences(page: Layout, truth: Layout): string[] {
  const remarks = [
    ...backgroundRemarks(page, truth),
    ...columnRemarks(page, truth),
    ...textRemarks(page, truth),
    ...heightRemarks(page, truth),
  ];
  return remarks
    .sort((a, b) => b.weight - a.weight)
    .slice(0, mostRemarks)
    .map(({ text }) => text);
}

/** "#rrggbb" of a computed colour; undefined where it is transparent. */
export function hexOf(color: string): string | undefined {
  const [r, g, b, alpha = 1] = (/^rgba?\((.*)\)$/.exec(color)?.[1] ?? '').split(/[\s,/]+/).map(Number);
  if (r === undefined || g === undefined || b === undefined || !(alpha > 0)) return undefined;
  const byte = (value: number) => Math.round(value).toString(16).padStart(2, '0');
  return `#${byte(r)}${byte(g)}${byte(b)}`;
}

/** The share of the page that each background covers, and the background of most of it. Elements cover those before them. */
function backgroundsOf({ width, height, elements }: Layout): { base: string; shares: Map<string, number> } {
  const [columns, rows] = [32, 32];
  const cells: string[] = new Array(columns * rows).fill('#ffffff');
  elements.forEach((element, i) => {
    const color = hexOf(element.background);
    if (color === undefined) return;
    // The background of the first two, html and body, is that of the whole page.
    const isRoot = i < 2 && (element.tag === 'html' || element.tag === 'body');
    const { x, y, width: w, height: h } = isRoot ? { x: 0, y: 0, width, height } : element;
    for (let row = 0; row < rows; row++) {
      const middle = ((row + 0.5) * height) / rows;
      if (middle < y || middle >= y + h) continue;
      for (let column = 0; column < columns; column++) {
        const center = ((column + 0.5) * width) / columns;
        if (center >= x && center < x + w) cells[row * columns + column] = color;
      }
    }
  });
  const shares = new Map<string, number>();
  for (const color of cells) shares.set(color, (shares.get(color) ?? 0) + 1 / cells.length);
  const [base = '#ffffff'] = [...shares.keys()].sort((a, b) => (shares.get(b) ?? 0) - (shares.get(a) ?? 0));
  return { base, shares };
}

function backgroundRemarks(page: Layout, truth: Layout): Remark[] {
  const [has, wanted] = [backgroundsOf(page), backgroundsOf(truth)];
  return [...wanted.shares].flatMap(([color, share]) => {
    const missing = share - (has.shares.get(color) ?? 0);
    // A cell is 0.1 % of the page; a tenth of what is there is a matter of heights.
    if (missing <= 0.01 || missing < share / 10) return [];
    const text =
      color === wanted.base
        ? `The background of most of the page should be ${color}.`
        : `There should be more of the colour ${color} behind the text.`;
    return [{ weight: missing, text }];
  });
}

/** The most boxes of one size side by side. */
function columnsOf({ width, elements }: Layout): number {
  const rows = new Map<string, Set<number>>();
  for (const { x, y, width: w, height } of elements) {
    if (height < 40 || w > width / 1.5 || w < 40) continue;
    const key = [y, w].map(Math.round).join();
    rows.set(key, (rows.get(key) ?? new Set()).add(Math.round(x)));
  }
  return Math.max(1, ...[...rows.values()].map(({ size }) => size));
}

function columnRemarks(page: Layout, truth: Layout): Remark[] {
  const [has, wanted] = [columnsOf(page), columnsOf(truth)];
  if (has === wanted) return [];
  return [{ weight: 0.3, text: `There should be ${wanted} column${wanted === 1 ? '' : 's'}, not ${has}.` }];
}

const quoted = (text: string) => JSON.stringify(Array.from(text).slice(0, mostQuoted).join(''));

function textRemarks(page: Layout, truth: Layout): Remark[] {
  const known = new Map<string, LaidOutElement>();
  for (const element of page.elements) if (element.text !== '') known.set(quoted(element.text), element);
  const area = page.width * 400;
  const said = new Set<string>();
  return truth.elements.flatMap(({ text, fontSize, color, width, height }) => {
    const name = quoted(text);
    if (text === '' || said.has(name)) return [];
    said.add(name);
    // Texts are named before the last shades of a background: a large heading weighs as a quarter of the page.
    const weight = Math.min(0.25, (2 * Math.min(text.length * fontSize ** 2, width * height)) / area);
    const [has, wantedColor] = [known.get(name), hexOf(color) ?? '#000000'];
    const size = Math.round(fontSize);
    if (has === undefined) return [{ weight, text: `I miss the text ${name} (${size} px, ${wantedColor}).` }];
    if (Math.round(has.fontSize) !== size)
      return [{ weight: weight / 2, text: `The text ${name} should have ${size} px.` }];
    if (hexOf(has.color) === wantedColor) return [];
    return [{ weight: weight / 3, text: `The text ${name} should be ${wantedColor}.` }];
  });
}

function heightRemarks(page: Layout, truth: Layout): Remark[] {
  const apart = Math.abs(page.height - truth.height) / truth.height;
  if (apart < 0.1) return [];
  return [
    { weight: Math.min(0.2, apart / 2), text: `The page should be ${truth.height} px high, not ${page.height}.` },
  ];
}
