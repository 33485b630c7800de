/** An embedding without a model, for tests and first looks: layout, colours and lines of a page. */
import type { Embedding } from '../types.js';
import { decodePicture, type Picture, resized } from './picture.js';

/** Every picture is compared at this size: edges of boxes and lines of text are still seen, letters are not. */
const size = { width: 320, height: 320 };
/** Cells across and down in which edges are counted. */
const cells = 40;
/** Cells across and down of the mean colours. */
const patches = 8;
/** Rows of the profile of the lines. */
const lines = 160;
/** Shares of the parts in the cosine. */
const shares = { layout: 0.6, colours: 0.25, lines: 0.15 };
/** A step of luminance, of 255, that is an edge. */
const step = 6;

/**
 * Layout, colours and lines as one vector. Each part has the norm sqrt(share), so that the cosine of two pictures is
 *
 *     0.6 cos(layout) + 0.25 cos(colours) + 0.15 cos(lines)
 *
 * Layout: in 40 x 40 cells, the share of pixels with an edge, to the right and below, blurred. Colours: luminance,
 * 2 (R - G) and 2 (B - (R + G) / 2) of the means of 8 x 8 patches. Lines: the share of pixels with an edge in each of 160 rows. Whether there is an edge counts, not its contrast.
 * Black has no edge and no colour: its vector is 0.
 *
 * What it cannot see: letters and words (a text of the same length is nearly the same), what a picture shows, meaning. It is no
 * substitute for CLIP in a result that is published.
 */
export function perceptualFeatures(png: Uint8Array): Float32Array {
  const picture = resized(decodePicture(png), size, 'box');
  const { across, down, rows } = edgesOf(picture);
  const colours = chroma(resized(picture, { width: patches, height: patches }, 'box').data);
  return Float32Array.from([
    ...scaled([...blurred(across), ...blurred(down)].map(Math.sqrt), shares.layout),
    ...scaled(colours, shares.colours),
    ...scaled([...rows].map(Math.sqrt), shares.lines),
  ]);
}

export const perceptual: Embedding = { name: 'default', embed: async (png) => perceptualFeatures(png) };

/** Luminance, and two differences of colour at twice their size: most of a page is white, which would hide them. */
function chroma(data: Float32Array): number[] {
  return Array.from({ length: data.length / 3 }, (_, i) => {
    const [r, g, b] = [data[3 * i] as number, data[3 * i + 1] as number, data[3 * i + 2] as number];
    return [0.299 * r + 0.587 * g + 0.114 * b, 2 * (r - g), 2 * (b - (r + g) / 2)];
  }).flat();
}

function edgesOf({ width, height, data }: Picture) {
  const luminance = new Float32Array(width * height).map(
    (_, i) =>
      0.299 * (data[3 * i] as number) + 0.587 * (data[3 * i + 1] as number) + 0.114 * (data[3 * i + 2] as number),
  );
  const [across, down, rows] = [new Float32Array(cells ** 2), new Float32Array(cells ** 2), new Float32Array(lines)];
  for (let y = 0; y + 1 < height; y++) {
    for (let x = 0; x + 1 < width; x++) {
      const i = y * width + x;
      const cell = Math.floor((y * cells) / height) * cells + Math.floor((x * cells) / width);
      const right = Math.abs((luminance[i + 1] as number) - (luminance[i] as number)) > step;
      const below = Math.abs((luminance[i + width] as number) - (luminance[i] as number)) > step;
      if (right) across[cell] = (across[cell] as number) + 1;
      if (below) down[cell] = (down[cell] as number) + 1;
      if (right || below)
        rows[Math.floor((y * lines) / height)] = (rows[Math.floor((y * lines) / height)] as number) + 1;
    }
  }
  return { across, down, rows };
}

/** Means over 3 x 3 cells: a shift by less than a cell changes little. */
function blurred(counts: Float32Array): Float32Array {
  return counts.map((_, i) => {
    const [y, x] = [Math.floor(i / cells), i % cells];
    let sum = 0;
    for (let dy = -1; dy <= 1; dy++) {
      for (let dx = -1; dx <= 1; dx++) {
        const [v, u] = [y + dy, x + dx];
        if (v >= 0 && v < cells && u >= 0 && u < cells) sum += counts[v * cells + u] as number;
      }
    }
    return sum / 9;
  });
}

/** With the squared norm `share`; zeros stay zeros. */
function scaled(values: readonly number[], share: number): number[] {
  const norm = Math.sqrt(values.reduce((sum, each) => sum + each * each, 0));
  return norm === 0 ? [...values] : values.map((each) => (each * Math.sqrt(share)) / norm);
}
