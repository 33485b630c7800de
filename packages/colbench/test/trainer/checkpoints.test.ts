import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readSafetensors, serializeSafetensors, writeSafetensors } from 'sweet-rl/safetensors';
import { describe, expect, it } from 'vitest';
import type { Session } from '../../src/trainer/session.js';
import {
  CONFIGS,
  makeModel,
  open,
  python,
  randomSequences,
  readJson,
  relativeError,
  temporaryFolder,
} from './helpers.js';

const bytesOf = (folder: string, name: string) => readFileSync(join(folder, name));

async function logpsOf(session: Session): Promise<number[]> {
  const all: number[] = [];
  for await (const logps of session.logps(randomSequences(4, 2, 61, 51), { microTokens: 1000 })) all.push(...logps);
  return all;
}

describe.skipIf(!python)('files', () => {
  it('saves float32 weights as the bytes that were loaded', async () => {
    const folder = await makeModel(CONFIGS['llama tied, biases']!, 52);
    const session = await open(folder);
    await session.reserve(4);
    const out = temporaryFolder();
    const { files } = await session.trainer.request('save', { folder: out, what: 'weights' });
    expect(bytesOf(out, 'model.safetensors').equals(bytesOf(folder, 'model.safetensors'))).toBe(true);
    expect(files).toMatchObject([{ name: 'model.safetensors', bytes: bytesOf(out, 'model.safetensors').length }]);
  });

  it('reads and writes bfloat16 shards with an index', async () => {
    const folder = await makeModel(CONFIGS.qwen2!, 53);
    const { tensors } = readSafetensors(join(folder, 'model.safetensors'));
    const names = Object.keys(tensors);
    const half = (name: string) => {
      const bits = new Uint32Array((tensors[name]!.data as Float32Array).buffer);
      return { data: Uint16Array.from(bits, (x) => x >>> 16), dtype: 'bfloat16' as const, shape: tensors[name]!.shape };
    };
    const sharded = temporaryFolder();
    copyFileSync(join(folder, 'config.json'), join(sharded, 'config.json'));
    const weight_map: Record<string, string> = {};
    for (const [k, part] of [names.slice(0, 7), names.slice(7)].entries()) {
      const file = `model-0000${k + 1}-of-00002.safetensors`;
      const input = { tensors: Object.fromEntries(part.map((name) => [name, half(name)])) };
      writeFileSync(join(sharded, file), serializeSafetensors({ ...input, metadata: { format: 'pt' } }));
      for (const name of part) weight_map[name] = file;
    }
    writeFileSync(join(sharded, 'model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map }));
    // The same values in float32: a folder with the same log-probs.
    const plain = temporaryFolder();
    copyFileSync(join(folder, 'config.json'), join(plain, 'config.json'));
    const wide = (name: string) => {
      const bits = Uint32Array.from(half(name).data, (x) => x << 16);
      return { data: new Float32Array(bits.buffer), shape: tensors[name]!.shape };
    };
    const wideTensors = Object.fromEntries(names.map((name) => [name, wide(name)]));
    writeSafetensors(join(plain, 'model.safetensors'), { tensors: wideTensors });
    const session = await open(sharded);
    const logps = await logpsOf(session);
    const out = temporaryFolder();
    await session.trainer.request('save', { folder: out, what: 'weights' });
    for (const file of new Set(Object.values(weight_map))) {
      expect(bytesOf(out, file).equals(bytesOf(sharded, file))).toBe(true);
    }
    expect(readJson(join(out, 'model.safetensors.index.json')).weight_map).toEqual(weight_map);
    expect(logps).toEqual(await logpsOf(await open(plain)));
  });

  it('writes adapters in the layout of PEFT, which merge to the same model', async () => {
    const folder = await makeModel(CONFIGS.qwen3!, 54);
    const lora = { r: 2, alpha: 8, targets: ['v_proj', 'q_proj', 'up_proj'] };
    const session = await open(folder, { lora });
    const base = await logpsOf(session);
    await session.reserve(200);
    expect(base).toEqual(await logpsOf(await open(folder)));

    const again = await open(folder, { lora });
    const { gradHidden } = await again.reserve(200);
    for (let step = 0; step < 2; step++) {
      const request = { ids: [1, 2, 3, 4], sequenceOffsets: [0, 4], rows: [0, 1, 2, 3], train: true };
      await again.trainer.request('forward', request);
      gradHidden!.forEach((_, i) => {
        gradHidden![i] = Math.sin(i);
      });
      await again.trainer.request('backward', {});
      await again.trainer.request('step', { learningRate: 0.1, sums: [] });
    }
    const adapted = await logpsOf(again);
    const adapter = temporaryFolder();
    await again.trainer.request('save', { folder: adapter, what: 'weights' });
    const { tensors } = readSafetensors(join(adapter, 'adapter_model.safetensors'));
    const D = 16;
    const shapes: Record<string, number[][]> = {
      'self_attn.q_proj': [
        [2, 24],
        [4 * D, 2],
      ],
      'self_attn.v_proj': [
        [2, 24],
        [2 * D, 2],
      ],
      'mlp.up_proj': [
        [2, 24],
        [40, 2],
      ],
    };
    const expected = [0, 1].flatMap((layer) =>
      Object.entries(shapes).flatMap(([module, [a, b]]) => {
        const at = `base_model.model.model.layers.${layer}.${module}`;
        return [
          [`${at}.lora_A.weight`, a],
          [`${at}.lora_B.weight`, b],
        ];
      }),
    );
    const found = Object.entries(tensors).map(([name, { shape }]) => [name, shape]);
    expect(new Map(found as never)).toEqual(new Map(expected as never));
    expect(readJson(join(adapter, 'adapter_config.json'))).toMatchObject({
      ...{ peft_type: 'LORA', task_type: 'CAUSAL_LM', r: 2, lora_alpha: 8, base_model_name_or_path: folder },
      target_modules: ['q_proj', 'up_proj', 'v_proj'],
    });

    const loaded = await open(adapter, { frozen: true });
    expect(await logpsOf(loaded)).toEqual(adapted);
    expect(relativeError(adapted, base)).toBeGreaterThan(0.01);
    const merged = temporaryFolder();
    mkdirSync(merged, { recursive: true });
    await loaded.trainer.request('save', { folder: merged, what: 'merged' });
    copyFileSync(join(folder, 'config.json'), join(merged, 'config.json'));
    expect(relativeError(await logpsOf(await open(merged)), adapted)).toBeLessThan(1e-5);
  });
});
