/** CLIP ViT-B/32 as an ONNX file, by onnxruntime-node. */
import { CommandError } from '../../errors.js';
import { checkInput } from '../../values.js';
import type { Embedding } from '../types.js';
import { decodePicture, resized } from './picture.js';

/** Of the picture that the model sees. */
export const side = 224;
/** Of red, green and blue from 0 to 1, in the data that CLIP was trained on. */
const means = [0.48145466, 0.4578275, 0.40821073] as const;
const deviations = [0.26862954, 0.26130258, 0.27577711] as const;

/** What is used of onnxruntime-node. */
export interface Runtime {
  InferenceSession: { create(path: string): Promise<Session> };
  Tensor: new (type: 'float32', data: Float32Array, dims: readonly number[]) => unknown;
}
interface Session {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  run(feeds: Record<string, unknown>): Promise<Record<string, { data: ArrayLike<number> }>>;
  release?(): Promise<void>;
}

/**
 * The input of CLIP, [3, 224, 224]: the shorter side resampled to 224 (bicubic, antialiased, rounded to bytes), the square in the middle,
 * (x / 255 - mean) / deviation.
 *
 * @see arXiv 2103.00020, and OpenAI's preprocessing of its checkpoints
 */
export function clipInput(png: Uint8Array): Float32Array {
  const picture = decodePicture(png);
  const scale = side / Math.min(picture.width, picture.height);
  const [width, height] = [picture.width, picture.height].map((each) => Math.max(side, Math.floor(each * scale))) as [
    number,
    number,
  ];
  const small = resized(picture, { width, height }, 'cubic');
  const [left, top] = [Math.round((width - side) / 2), Math.round((height - side) / 2)];
  const input = new Float32Array(3 * side * side);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      for (let c = 0; c < 3; c++) {
        const value = small.data[3 * ((top + y) * width + left + x) + c] as number;
        const byte = Math.min(255, Math.max(0, Math.round(value)));
        input[(c * side + y) * side + x] = (byte / 255 - (means[c] as number)) / (deviations[c] as number);
      }
    }
  }
  return input;
}

/** The name of the output with the features of the picture, of those that exporters give. */
const outputs = ['image_embeds', 'image_features', 'output', 'pooler_output'];

/**
 * Image features of a CLIP model.
 *
 * @param path an ONNX file with an input [1, 3, 224, 224]: `pixel_values`, or its only one
 * @throws CommandError ERR_INPUT without the file, ERR_ONNX without onnxruntime-node, for another model, or other features
 */
export async function openClip(path: string, load: () => Promise<Runtime> = loadRuntime): Promise<Embedding> {
  checkInput(path, '--clip');
  const { InferenceSession, Tensor } = await load();
  const session = await InferenceSession.create(path).catch((cause) => {
    throw new CommandError('ERR_ONNX', `${path} is not a model that onnxruntime-node reads: ${cause.message}`, {
      cause,
    });
  });
  const { inputNames, outputNames } = session;
  const input = inputNames.includes('pixel_values') ? 'pixel_values' : inputNames[0];
  const output = outputs.find((name) => outputNames.includes(name)) ?? outputNames[0];
  // A model of pictures and texts would need texts as well.
  if (input === undefined || output === undefined || inputNames.length !== 1) {
    const hint = 'export the vision model with its projection alone';
    throw new CommandError(
      'ERR_ONNX',
      `Expected one input in ${path} but received ${inputNames.join(', ') || 'none'}: ${hint}`,
    );
  }
  return {
    name: 'clip',
    async embed(png) {
      const tensor = new Tensor('float32', clipInput(png), [1, 3, side, side]);
      const data = (await session.run({ [input]: tensor }))[output]?.data;
      const features = Float32Array.from(data ?? []);
      if (features.length > 0 && features.every(Number.isFinite)) return features;
      throw new CommandError(
        'ERR_ONNX',
        `Expected finite features from ${path} but received ${features.length} values, or NaN`,
      );
    },
    close: async () => session.release?.(),
  };
}

const loadRuntime = async (): Promise<Runtime> => {
  const name = 'onnxruntime-node';
  try {
    const module = await import(name);
    return (module.default ?? module) as Runtime;
  } catch (cause) {
    throw new CommandError('ERR_ONNX', `--clip needs onnxruntime-node: npm install onnxruntime-node`, { cause });
  }
};
