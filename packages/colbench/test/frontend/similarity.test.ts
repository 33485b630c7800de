/** The similarity of pictures: resampling and CLIP's input against float64 oracles, the order of changed pages. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PNG } from 'pngjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openRenderer } from '../../src/frontend/render/renderer.ts';
import { clipInput, openClip, type Runtime, side } from '../../src/frontend/similarity/clip.ts';
import { blackPicture, cosine, openEmbedding, similarity } from '../../src/frontend/similarity/index.ts';
import { decodePicture, resized } from '../../src/frontend/similarity/picture.ts';
import type { Renderer } from '../../src/frontend/types.ts';
import { changes, pages, variant } from '../helpers/pages.ts';

type Colour = (x: number, y: number) => readonly number[];

function pngOf(width: number, height: number, colour: Colour): Buffer {
  const png = new PNG({ width, height });
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) png.data.set([...colour(x, y), 255].slice(0, 4), 4 * (y * width + x));
  }
  return PNG.sync.write(png);
}

/** Bicubic resampling as in Pillow, from its definition: every pixel of the result sums over the whole line. */
function bicubic(line: readonly number[], to: number): number[] {
  const kernel = (x: number) => {
    const t = Math.abs(x);
    if (t <= 1) return 1.5 * t ** 3 - 2.5 * t ** 2 + 1;
    return t < 2 ? -0.5 * t ** 3 + 2.5 * t ** 2 - 4 * t + 2 : 0;
  };
  const scale = line.length / to;
  const stretch = Math.max(1, scale);
  return Array.from({ length: to }, (_, i) => {
    const weights = line.map((_, j) => kernel((j + 0.5 - (i + 0.5) * scale) / stretch));
    const sum = weights.reduce((a, b) => a + b, 0);
    return line.reduce((all, value, j) => all + (value * (weights[j] as number)) / sum, 0);
  });
}

describe('pictures', () => {
  it.each([
    [13, 5],
    [300, 224],
    [7, 31],
  ])('are resampled from %i to %i pixels as the definition says', (from, to) => {
    const line = Array.from({ length: from }, (_, i) => (i * 7919) % 256);
    const picture = decodePicture(pngOf(from, 3, (x) => [line[x]!, 0, 255 - line[x]!]));
    const { data } = resized(picture, { width: to, height: 3 }, 'cubic');
    for (const [i, expected] of bicubic(line, to).entries()) {
      expect(Math.abs(data[3 * (to + i)]! - expected)).toBeLessThan(1e-3);
      expect(Math.abs(data[3 * i + 2]! - (255 - expected))).toBeLessThan(1e-3);
    }
  });

  it('have their transparency on white', () => {
    const picture = decodePicture(pngOf(1, 1, () => [10, 20, 30, 51]));
    for (const [c, value] of [10, 20, 30].entries()) expect(picture.data[c]).toBeCloseTo(0.2 * value + 204, 4);
  });

  it.each([
    ['no bytes', Buffer.alloc(0)],
    ['another file', Buffer.from('GIF89a and more than twenty-four bytes')],
    ['a part of a PNG', blackPicture.subarray(0, 60)],
    [
      'a picture of too many pixels',
      Buffer.concat([blackPicture.subarray(0, 16), Buffer.from([0, 1, 0, 0, 0, 1, 0, 0]), blackPicture.subarray(24)]),
    ],
  ])('are refused: %s', (_, bytes) => {
    expect(() => decodePicture(bytes)).toThrow(expect.objectContaining({ code: 'ERR_PICTURE' }));
  });
});

describe('CLIP', () => {
  const [means, deviations] = [
    [0.48145466, 0.4578275, 0.40821073],
    [0.26862954, 0.26130258, 0.27577711],
  ];

  it('gets the square in the middle, in its units', () => {
    // 448 x 224: nothing is resampled; columns 112 to 335 are seen.
    const colour: Colour = (x, y) => [x % 256, y, (x + y) % 256];
    const input = clipInput(pngOf(448, 224, colour));
    for (const [x, y] of [
      [0, 0],
      [223, 0],
      [100, 57],
      [223, 223],
    ] as const) {
      const seen = colour(112 + x, y);
      for (let c = 0; c < 3; c++) {
        const expected = (seen[c]! / 255 - means[c]!) / deviations[c]!;
        expect(Math.abs(input[(c * side + y) * side + x]! - expected)).toBeLessThan(1e-6);
      }
    }
  });

  it('gets a resampled picture, rounded to bytes', () => {
    const line = Array.from({ length: 300 }, (_, i) => (i * 7919) % 256);
    const input = clipInput(pngOf(300, 300, (x) => [line[x]!, line[x]!, line[x]!]));
    for (const [x, value] of bicubic(line, side).entries()) {
      const byte = input[x]! * deviations[0]! * 255 + means[0]! * 255;
      // Where the definition is between two bytes, either is right.
      expect(Math.abs(byte - Math.min(255, Math.max(0, value)))).toBeLessThan(0.501);
      expect(Math.abs(byte - Math.round(byte))).toBeLessThan(1e-3);
    }
  });

  /** A session whose features are the first values of each channel. */
  const runtime = (inputNames: string[], outputNames: string[], features?: number[]): Runtime => ({
    InferenceSession: {
      create: async () => ({
        ...{ inputNames, outputNames },
        run: async (feeds) => {
          const { data, dims } = feeds[inputNames[0]!] as { data: Float32Array; dims: number[] };
          expect(dims).toEqual([1, 3, side, side]);
          const own = [0, side * side, 2 * side * side].map((i) => data[i]!);
          return Object.fromEntries(
            outputNames.map((name) => [name, { data: name === 'other' ? [9] : (features ?? own) }]),
          );
        },
      }),
    },
    Tensor: class {
      constructor(
        readonly type: string,
        readonly data: Float32Array,
        readonly dims: readonly number[],
      ) {}
    } as unknown as Runtime['Tensor'],
  });
  const file = join(mkdtempSync(join(tmpdir(), 'colbench-clip-')), 'model.onnx');
  writeFileSync(file, '');

  it('gives the features of the picture', async () => {
    const clip = await openClip(file, async () => runtime(['pixel_values'], ['other', 'image_embeds']));
    const features = await clip.embed(pngOf(224, 224, () => [255, 0, 51]));
    const expected = [255, 0, 51].map((value, c) => (value / 255 - means[c]!) / deviations[c]!);
    expect([...features].map((value, c) => Math.abs(value - expected[c]!) < 1e-6)).toEqual([true, true, true]);
    expect(await similarity(clip, blackPicture, undefined)).toBe(1);
  });

  it.each([
    ['two inputs', runtime(['input_ids', 'pixel_values'], ['image_embeds']), 'ERR_ONNX'],
    ['no finite features', runtime(['x'], ['y'], [1, NaN]), 'ERR_ONNX'],
    ['no features', runtime(['x'], ['y'], []), 'ERR_ONNX'],
  ])('refuses a model with %s', async (_, given, code) => {
    await expect(openClip(file, async () => given).then((clip) => clip.embed(blackPicture))).rejects.toMatchObject({
      code,
    });
  });

  it('says what is missing', async () => {
    await expect(openEmbedding({ clip: '/nowhere/clip.onnx' })).rejects.toMatchObject({ code: 'ERR_INPUT' });
    // It is no dependency of this package.
    await expect(openEmbedding({ clip: file })).rejects.toMatchObject({
      code: 'ERR_ONNX',
      message: expect.stringContaining('npm install onnxruntime-node'),
    });
  });
});

describe('the embedding without a model', () => {
  let renderer: Renderer;
  beforeAll(async () => {
    renderer = await openRenderer({ seconds: 60 });
  });
  afterAll(() => renderer.close());

  it.each(pages)('orders changes of the page: %s', async (name) => {
    const embedding = await openEmbedding('default');
    const pictures = await Promise.all(
      changes.map(async (change) => {
        const page = await renderer.render(variant(name, change));
        if ('failure' in page) throw new Error(page.failure);
        return page.png;
      }),
    );
    const rewards = await Promise.all([...pictures, undefined].map((each) => similarity(embedding, pictures[0], each)));
    expect(rewards[0]).toBe(1);
    // identical > other text > other colours > other columns > bare > black
    expect(rewards).toEqual([...rewards].sort((a, b) => b - a));
    expect(new Set(rewards).size).toBe(rewards.length);
    expect(rewards.at(-1)).toBe(0);
  });

  it('is symmetric, and 1 for two pages without a picture', async () => {
    const embedding = await openEmbedding('default');
    const [a, b] = [pngOf(640, 400, (x) => [x % 256, 9, 9]), pngOf(300, 900, (_, y) => [y % 256, 200, y % 7])];
    expect(await similarity(embedding, a, b)).toBe(await similarity(embedding, b, a));
    expect(await similarity(embedding, undefined, undefined)).toBe(1);
  });
});

it('is the cosine, 0 for a vector of zeros', () => {
  expect(cosine(Float32Array.of(3, 4), Float32Array.of(4, 3))).toBeCloseTo(24 / 25, 12);
  expect(cosine(Float32Array.of(1, 0), Float32Array.of(-2, 0))).toBe(-1);
  expect(cosine(new Float32Array(2), Float32Array.of(1, 2))).toBe(0);
});
