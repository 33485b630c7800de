/** Pictures as arrays of numbers. */
import { PNG } from 'pngjs';
import { CommandError } from '../../errors.js';

/** A picture of `height` rows of `width` pixels of red, green and blue from 0 to 255. */
export interface Picture {
  width: number;
  height: number;
  /** [height, width, 3] */
  data: Float32Array;
}

/** More pixels are refused before they are decoded. */
const mostPixels = 2 ** 26;

/** Decodes a PNG; transparency is on white. @throws CommandError ERR_PICTURE */
export function decodePicture(png: Uint8Array): Picture {
  const bytes = Buffer.from(png.buffer, png.byteOffset, png.byteLength);
  const isPng = bytes.length >= 24 && bytes.readUInt32BE(0) === 0x89504e47;
  const [width, height] = isPng ? [bytes.readUInt32BE(16), bytes.readUInt32BE(20)] : [0, 0];
  if (width * height === 0 || width * height > mostPixels) {
    const received = isPng ? `${width} x ${height}` : `${bytes.length} bytes of something else`;
    throw new CommandError('ERR_PICTURE', `Expected a PNG of 1 to ${mostPixels} pixels but received ${received}`);
  }
  let rgba: Buffer;
  try {
    rgba = PNG.sync.read(bytes).data;
  } catch (cause) {
    throw new CommandError('ERR_PICTURE', `The picture is no valid PNG: ${(cause as Error).message}`, { cause });
  }
  const data = new Float32Array(3 * width * height);
  for (let i = 0; i < width * height; i++) {
    const alpha = (rgba[4 * i + 3] as number) / 255;
    for (let c = 0; c < 3; c++) data[3 * i + c] = alpha * (rgba[4 * i + c] as number) + 255 * (1 - alpha);
  }
  return { width, height, data };
}

/** A weighted window of source pixels for one pixel of the result. */
interface Window {
  first: number;
  weights: Float64Array;
}

/**
 * The windows of a resampling with a symmetric kernel of `support` pixels to each side, which is stretched where the result is smaller
 * (antialiasing, as in Pillow): w(j) = k((j + 1/2 - (i + 1/2) s) / max(s, 1)), s = from / to, normalised to 1.
 */
export function windowsOf(from: number, to: number, kernel: (x: number) => number, support: number): Window[] {
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - support * stretch + 0.5));
    const last = Math.min(from, Math.floor(centre + support * stretch + 0.5));
    const weights = Float64Array.from({ length: last - first }, (_, j) => kernel((first + j + 0.5 - centre) / stretch));
    const sum = weights.reduce((all, each) => all + each, 0);
    return { first, weights: weights.map((each) => each / sum) };
  });
}

const box = (x: number) => (x > -0.5 && x <= 0.5 ? 1 : 0);
/** The cubic convolution with a = -1/2, as in Pillow (Keys 1981). */
const cubic = (x: number) => {
  const [a, t] = [-0.5, Math.abs(x)];
  if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  return t < 2 ? ((a * t - 5 * a) * t + 8 * a) * t - 4 * a : 0;
};
const kernels = { box: [box, 0.5], cubic: [cubic, 2] } as const;

/** A picture of another size: first the rows are resampled, then the columns. */
export function resized(
  { width, height, data }: Picture,
  to: { width: number; height: number },
  kind: keyof typeof kernels,
): Picture {
  const [kernel, support] = kernels[kind];
  const across = windowsOf(width, to.width, kernel, support);
  const down = windowsOf(height, to.height, kernel, support);
  const rows = new Float32Array(3 * to.width * height);
  for (let y = 0; y < height; y++) {
    for (const [x, { first, weights }] of across.entries()) {
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let j = 0; j < weights.length; j++)
          sum += (weights[j] as number) * (data[3 * (y * width + first + j) + c] as number);
        rows[3 * (y * to.width + x) + c] = sum;
      }
    }
  }
  const result = new Float32Array(3 * to.width * to.height);
  for (const [y, { first, weights }] of down.entries()) {
    for (let i = 0; i < 3 * to.width; i++) {
      let sum = 0;
      for (let j = 0; j < weights.length; j++)
        sum += (weights[j] as number) * (rows[3 * to.width * (first + j) + i] as number);
      result[3 * to.width * y + i] = sum;
    }
  }
  return { ...to, data: result };
}
