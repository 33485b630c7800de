/** The reward of the frontend task: the similarity of two rendered pages. */
import { PNG } from 'pngjs';
import type { Embedding } from '../types.js';
import { openClip } from './clip.js';
import { perceptual } from './perceptual.js';

/** What stands for a page that has no picture. */
export const blackPicture: Buffer = (() => {
  const png = new PNG({ width: 224, height: 224 });
  for (let i = 3; i < png.data.length; i += 4) png.data[i] = 255;
  return PNG.sync.write(png);
})();

/**
 * An embedding of pictures.
 *
 * @param spec 'default': layout, colours and lines, without a model; or the ONNX file of a CLIP ViT-B/32
 * @throws CommandError ERR_INPUT or ERR_ONNX for CLIP
 */
export async function openEmbedding(spec: 'default' | { clip: string }): Promise<Embedding> {
  return spec === 'default' ? perceptual : await openClip(spec.clip);
}

/**
 * The cosine of the embeddings of two pictures, in [-1, 1].
 *
 *     similarity(a, b) = <e(a), e(b)> / (|e(a)| |e(b)|)
 *
 * @param a a PNG; undefined, where a page has no picture, is black, 224 x 224
 * @returns exactly 1 for the same bytes; 0 where one of two different pictures has an embedding of zeros
 * @throws CommandError ERR_PICTURE for bytes that are no PNG
 */
export async function similarity(
  embedding: Embedding,
  a: Uint8Array | undefined,
  b: Uint8Array | undefined,
): Promise<number> {
  const [first, second] = [a ?? blackPicture, b ?? blackPicture];
  const [x, y] = [await embedding.embed(first), await embedding.embed(second)];
  return Buffer.compare(first, second) === 0 ? 1 : cosine(x, y);
}

/** In float64; 0 where one of them is 0. */
export function cosine(x: Float32Array, y: Float32Array): number {
  let [xy, xx, yy] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    const [u, v] = [x[i] as number, y[i] as number];
    xy += u * v;
    xx += u * u;
    yy += v * v;
  }
  return xx === 0 || yy === 0 ? 0 : Math.min(1, Math.max(-1, xy / Math.sqrt(xx * yy)));
}
