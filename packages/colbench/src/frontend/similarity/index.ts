/** The similarity of two pictures of pages: the cosine of their embeddings. */
import { PNG } from 'pngjs';
import { CommandError } from '../../errors.js';
import type { Embedding } from '../types.js';

/** Cells in each direction; a picture of any size has as many. */
const grid = 16;
/** Features of a cell: the mean of red, green and blue, and the deviation of their sum. */
const features = 4;
/** A line of text deviates by some 0.1 of the range of a colour; weighed so that it counts as much as a pale colour. */
const deviationWeight = 2;

/**
 * Opens an embedding. 'default' needs no file: colours and contrasts on a grid. It sees where colours and texts are, but not what
 * a text says or what a picture shows.
 */
export async function openEmbedding(spec: 'default' | { clip: string }): Promise<Embedding> {
  if (spec !== 'default') {
    throw new CommandError(
      'ERR_EMBEDDING',
      `The embedding ${spec.clip} cannot be opened: only the default is implemented`,
    );
  }
  return { name: 'grid', embed: async (png) => gridOf(png) };
}

/** [grid, grid, features], each from 0 to 1; zeros for a black picture. */
function gridOf(png: Uint8Array): Float32Array {
  const { width, height, data } = PNG.sync.read(Buffer.from(png));
  const embedded = new Float32Array(grid * grid * features);
  const edge = (i: number, length: number) => Math.floor((i * length) / grid);
  for (let cell = 0; cell < grid * grid; cell++) {
    const [column, row] = [cell % grid, Math.floor(cell / grid)];
    const [left, right] = [edge(column, width), edge(column + 1, width)];
    const sums = [0, 0, 0];
    let [sum, squares, count] = [0, 0, 0];
    for (let y = edge(row, height); y < edge(row + 1, height); y++) {
      for (let x = left; x < right; x++) {
        const at = 4 * (y * width + x);
        const rgb = [0, 1, 2].map((c) => (data[at + c] as number) / 255);
        for (const [c, value] of rgb.entries()) sums[c] = (sums[c] as number) + value;
        const grey = rgb.reduce((all, value) => all + value, 0) / 3;
        sum += grey;
        squares += grey * grey;
        count += 1;
      }
    }
    const n = Math.max(1, count);
    const deviation = Math.sqrt(Math.max(0, squares / n - (sum / n) ** 2));
    embedded.set([...sums.map((each) => each / n), deviationWeight * deviation], cell * features);
  }
  return embedded;
}

/** A picture that is missing counts as black, CLIP's input size. */
const black = (): Uint8Array => {
  const png = new PNG({ width: 224, height: 224 });
  for (let at = 3; at < png.data.length; at += 4) png.data[at] = 255;
  return PNG.sync.write(png);
};

/** The cosine of two pictures under an embedding; two black ones are alike, a black one and another one are not. */
export async function similarity(
  embedding: Embedding,
  a: Uint8Array | undefined,
  b: Uint8Array | undefined,
): Promise<number> {
  const [p, q] = [await embedding.embed(a ?? black()), await embedding.embed(b ?? black())];
  let [product, ofA, ofB] = [0, 0, 0];
  for (const [i, value] of p.entries()) {
    const other = q[i] as number;
    product += value * other;
    ofA += value * value;
    ofB += other * other;
  }
  if (ofA === 0 || ofB === 0) return ofA === ofB ? 1 : 0;
  return product / Math.sqrt(ofA * ofB);
}
