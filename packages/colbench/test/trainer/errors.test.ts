import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readSafetensors, writeSafetensors } from 'sweet-rl/safetensors';
import { describe, expect, it } from 'vitest';
import type { LossOptions } from '../../src/trainer/heads.js';
import { findPython, Trainer } from '../../src/trainer/process.js';
import { Session } from '../../src/trainer/session.js';
import { accumulate, trainingStep } from '../../src/trainer/steps.js';
import { CONFIGS, makeModel, open, python, randomSequences, sharedMemory, temporaryFolder } from './helpers.js';

function script(text: string): string {
  const path = join(temporaryFolder(), 'python');
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

describe('without torch', () => {
  it('says what each interpreter lacks and what helps', async () => {
    await expect(findPython('/nonexistent/python3')).rejects.toMatchObject({
      code: 'ERR_TRAINER',
      message: expect.stringMatching(/\/nonexistent\/python3 does not exist.*needs python3-torch/),
    });
    await expect(Trainer.start({ python: script('exit 4') })).rejects.toThrow(/has no torch\. .*python3-torch/);
    await expect(Trainer.start({ python: script('exit 5') })).rejects.toThrow(/has no numpy/);
    await expect(Trainer.start({ python: script('echo broken >&2; exit 1') })).rejects.toThrow(/fails: broken/);
  });

  it('shows the exit code and the last lines of stderr', async () => {
    const dying = script('if [ "$1" = -c ]; then exit 0; fi\nfor i in $(seq 30); do echo line $i >&2; done\nexit 3');
    const trainer = await Trainer.start({ python: dying });
    const error = await trainer.request('backward', {}).catch((each: Error) => each);
    expect(error).toMatchObject({ code: 'ERR_TRAINER', message: expect.stringMatching(/exit code 3 during backward/) });
    expect((error as Error).message.match(/line \d+/g)).toHaveLength(20);
    expect((error as Error).message).toMatch(/line 30$/);
  });
});

describe.skipIf(!python)('threads of OpenBLAS', () => {
  it('finds the build with threads of its own that torch uses', () => {
    const maps = (...paths: string[]) => paths.map((path) => `7f00-7f01 r-xp 00000000 08:01 12 ${path}\n`).join('');
    const debian = '/usr/lib/x86_64-linux-gnu';
    const cases: [string, string | null][] = [
      [maps('/lib/libc.so.6', `${debian}/openblas-pthread/libblas.so.3`), `${debian}/openblas-pthread/libblas.so.3`],
      [maps(`${debian}/openblas-openmp/libopenblasp-r0.3.21.so`), null],
      [maps('/opt/conda/lib/libopenblasp-r0.3.21.so'), '/opt/conda/lib/libopenblasp-r0.3.21.so'],
      [maps('/x/site-packages/numpy.libs/libopenblasp-r0-09e95953.so'), null],
      [maps('/x/site-packages/torch/lib/libtorch_cpu.so'), null],
    ];
    const code =
      'import json, sys, trainer; print(json.dumps([trainer.pthread_openblas(m) for m in json.loads(sys.argv[1])]))';
    const root = fileURLToPath(new URL('../../', import.meta.url));
    const text = execFileSync(python as string, ['-c', code, JSON.stringify(cases.map(([each]) => each))], {
      cwd: root,
    });
    expect(JSON.parse(String(text))).toEqual(cases.map(([, path]) => path));
  });
});

type Tensors = ReturnType<typeof readSafetensors>['tensors'];

describe.skipIf(!python)('errors of the trainer', () => {
  /** A model with another configuration, or other tensors. */
  async function broken(config: Record<string, unknown>, change: (tensors: Tensors) => void = () => {}) {
    const folder = await makeModel(CONFIGS.llama!, 41);
    writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...CONFIGS.llama, ...config }));
    const path = join(folder, 'model.safetensors');
    const { tensors } = readSafetensors(path);
    change(tensors);
    writeSafetensors(path, { tensors });
    return folder;
  }

  it('ERR_MODEL names the field or the tensor', async () => {
    const cases: [Promise<string>, string, RegExp][] = [
      [broken({ model_type: 'gpt2' }), 'model_type', /model_type is "gpt2", expected llama or/],
      [broken({ hidden_act: 'gelu' }), 'hidden_act', /hidden_act is "gelu"/],
      [broken({ rope_scaling: { rope_type: 'yarn', factor: 2 } }), 'rope_scaling', /yarn/],
      [broken({ quantization_config: { bits: 4 } }), 'quantization_config', /quantization_config/],
      [broken({ num_key_value_heads: 3 }), 'num_key_value_heads', /divisor of the 4/],
      [broken({ hidden_size: undefined }), 'hidden_size', /an integer > 0/],
      [broken({ num_hidden_layers: 3 }), 'model.layers.2.self_attn.q_proj.weight', /is missing/],
      [broken({ num_hidden_layers: 1 }), 'model.layers.1.self_attn.q_proj.weight', /which a llama model has not/],
      [broken({ num_hidden_layers: 1e9 }), 'num_hidden_layers', /at most 10000/],
      [broken({ rms_norm_eps: -1 }), 'rms_norm_eps', /rms_norm_eps must be > 0/],
      [broken({ rope_theta: 0 }), 'rms_norm_eps', /numbers of the rotation finite/],
      [broken({ model_type: 'mistral', sliding_window: 'x' }), 'sliding_window', /an integer > 0/],
      [broken({ vocab_size: 60 }), 'model.embed_tokens.weight', /\[61, 24\], expected \[60, 24\]/],
      [
        broken({}, (tensors) => {
          tensors['score.weight'] = tensors['model.norm.weight']!;
        }),
        'score.weight',
        /which a llama model has not/,
      ],
    ];
    for (const [folder, where, message] of cases) {
      await expect(open(await folder)).rejects.toMatchObject({
        ...{ code: 'ERR_MODEL', message: expect.stringMatching(message) },
        where,
      });
    }
    const cut = await makeModel(CONFIGS.llama!, 41);
    const bytes = readFileSync(join(cut, 'model.safetensors'));
    writeFileSync(join(cut, 'model.safetensors'), bytes.subarray(0, bytes.length - 100));
    await expect(open(cut)).rejects.toMatchObject({ code: 'ERR_MODEL', message: expect.stringMatching(/lm_head/) });
    await expect(open(temporaryFolder())).rejects.toMatchObject({ code: 'ERR_MODEL' });
  });

  it('ERR_MODEL for files that are no model', async () => {
    const folder = await makeModel(CONFIGS.llama!, 46);
    const path = (name: string) => join(folder, name);
    const weights = readFileSync(path('model.safetensors'));
    const length = Number(weights.readBigUInt64LE());
    const withHeader = (header: string) => {
      const size = Buffer.alloc(8);
      size.writeBigUInt64LE(BigInt(header.length));
      return Buffer.concat([size, Buffer.from(header), weights.subarray(8 + length)]);
    };
    const header = JSON.parse(String(weights.subarray(8, 8 + length)));
    header['model.norm.weight'].shape = [-4, -6];
    const fails = async (name: string, bytes: string | Buffer, message: RegExp) => {
      const before = existsSync(path(name)) ? readFileSync(path(name)) : undefined;
      writeFileSync(path(name), bytes);
      await expect(open(folder), String(message)).rejects.toMatchObject({
        ...{ code: 'ERR_MODEL', message: expect.stringMatching(message) },
      });
      if (before === undefined) rmSync(path(name));
      else writeFileSync(path(name), before);
    };
    await fails('model.safetensors', '', /cannot be read/);
    await fails('model.safetensors', withHeader('[]'), /no valid header/);
    await fails('model.safetensors', withHeader('['.repeat(100_000)), /no valid header/);
    await fails('model.safetensors', withHeader(JSON.stringify(header)), /has the shape \[-4, -6\]/);
    await fails('config.json', '[]', /holds no object/);
    const scaling = { ...CONFIGS.llama, rope_scaling: { rope_type: 'llama3' } };
    await fails('config.json', JSON.stringify(scaling), /KeyError 'factor'/);
    const index = 'model.safetensors.index.json';
    for (const map of ['[1]', '{"a": 1}', '{"a": "../model.safetensors"}']) {
      await fails(index, `{"weight_map": ${map}}`, /weight_map must give each tensor/);
    }
    await fails(index, '{"weight_map": {"a": "model-00001-of-00002.safetensors"}}', /00001-of-00002.*cannot be read/);
    const adapter = {
      peft_type: 'LORA',
      base_model_name_or_path: folder,
      r: 1,
      lora_alpha: 1,
      target_modules: ['q_proj'],
    };
    for (const [change, message] of [
      [{ r: 'x' }, /r is "x"/],
      [{ target_modules: [5] }, /names for target_modules/],
      [{ peft_type: 'IA3' }, /peft_type is "IA3"/],
      [{}, /adapter_model.safetensors cannot be read/],
    ] as const) {
      await fails('adapter_config.json', JSON.stringify({ ...adapter, ...change }), message);
    }
    const session = await open(folder);
    const [sequence] = randomSequences(1, 1, 61, 3);
    sequence!.ids[0] = 61;
    await expect(session.logps([sequence!], { microTokens: 100 }).next()).rejects.toMatchObject({
      ...{ code: 'ERR_MODEL', message: expect.stringMatching(/s0: token 0 is 61, but the model has 61 entries/) },
    });
  });

  it('ERR_DEVICE where nothing but the CPU is implemented', async () => {
    const folder = await makeModel(CONFIGS.llama!, 47);
    await expect(open(folder, { device: 'cuda:99' })).rejects.toMatchObject({ code: 'ERR_DEVICE' });
    const { trainer } = await open(folder);
    const elsewhere = new (Session as unknown as { new (...fields: unknown[]): Session })(
      trainer,
      {},
      'float32',
      'cuda',
    );
    await expect(elsewhere.reserve(1)).rejects.toMatchObject({
      ...{ code: 'ERR_DEVICE', message: expect.stringMatching(/run on the CPU alone.*not tested/) },
    });
  });

  it('ERR_PROTOCOL for requests that are unknown, incomplete or out of order', async () => {
    const { trainer } = await open(await makeModel(CONFIGS.llama!, 42));
    const fails = async (kind: string, fields: object, message: RegExp) =>
      expect(trainer.request(kind as 'backward', fields)).rejects.toMatchObject({
        ...{ code: 'ERR_PROTOCOL', message: expect.stringMatching(message) },
      });
    await fails('jump', {}, /Unknown request "jump"/);
    await fails('step', { learningRate: '1', sums: [] }, /learningRate must be of type/);
    await fails('backward', { more: 1 }, /unknown field more/);
    await fails('backward', {}, /backward before forward/);
    await fails('forward', { ids: [1], sequenceOffsets: [0, 1], rows: [0], train: true }, /forward before buffers/);
    const session = await open(await makeModel(CONFIGS.llama!, 42));
    await session.reserve(4);
    const forward = { ids: [1, 2], sequenceOffsets: [0, 2], rows: [0], train: false };
    await fails('forward', { ...forward, ids: [1, 61] }, /ids\[1\] is 61, expected an integer from 0 to 60/);
    await fails('forward', { ...forward, sequenceOffsets: [0, 1] }, /sequenceOffsets/);
    await fails('forward', { ...forward, rows: [2] }, /rows\[0\] is 2/);
    await fails('forward', { ...forward, rows: [0, 1, 0, 1, 0] }, /buffers are for 1 to 4/);
    await trainer.request('forward', forward);
  });

  it('ERR_NONFINITE for a loss or a gradient norm; the weights stay', async () => {
    const session = await open(await makeModel(CONFIGS.llama!, 43));
    const buffers = await session.reserve(200);
    const before = Float32Array.from(buffers.weight);
    const [chosen, rejected] = randomSequences(2, 2, 61, 9);
    const items = [{ chosen: chosen!, rejected }];
    const loss = { method: 'critic', beta: 0.1, nllCoef: 0, normalization: 'turn-mean' } as const;
    const reference = (value: number) =>
      new Map([chosen!, rejected!].map(({ id }) => [id, new Float32Array(100).fill(value)]));
    const cut = (value: number) =>
      new Map(
        [...reference(value)].map(([id, all], k) => {
          const { turns } = [chosen!, rejected!][k]!;
          return [
            id,
            all.subarray(
              0,
              turns.reduce((sum, { start, end }) => sum + end - start, 0),
            ),
          ] as const;
        }),
      );
    const options = { loss, microTokens: 1000, rank: { rank: 0, world: 1 } };
    await expect(accumulate(session, items, cut(Number.NaN), options)).rejects.toMatchObject({
      ...{ code: 'ERR_NONFINITE', message: expect.stringMatching(/The loss is NaN \(sequences s0, s1\)/) },
    });
    const group: LossOptions = {
      ...{ method: 'grpo', scale: 'group', gamma: null, stepCoef: null, clipLow: 0.2, clipHigh: 0.2, klCoef: 0 },
      reduction: 'token-mean',
    };
    const rollouts = [chosen!, rejected!].map((each, k) => ({
      ...{ chosen: each, advantages: Float64Array.of(k - 0.5, k - 0.5), reward: k },
    }));
    await expect(accumulate(session, rollouts, cut(Number.NaN), { ...options, loss: group })).rejects.toMatchObject({
      ...{ code: 'ERR_NONFINITE', message: expect.stringMatching(/The loss is NaN \(sequences s0, s1\)/) },
    });
    const step = { ...options, learningRate: 0.1, clip: 1 };
    buffers.weight[0] = Number.POSITIVE_INFINITY;
    await expect(trainingStep(session, items, cut(-3), step)).rejects.toMatchObject({ code: 'ERR_NONFINITE' });
    buffers.weight[0] = before[0]!;
    await accumulate(session, items, cut(-3), options);
    buffers.gradWeight![5] = Number.NaN;
    await expect(session.trainer.request('step', { learningRate: 0.1, sums: [] })).rejects.toMatchObject({
      ...{ code: 'ERR_NONFINITE', message: expect.stringMatching(/gradient norm is nan; the weights are unchanged/) },
    });
    expect(buffers.weight).toEqual(before);
    const { gradNorm } = await trainingStep(session, items, cut(-3), step);
    expect(gradNorm).toBeGreaterThan(0);
    expect(buffers.weight).not.toEqual(before);
  });

  it('ERR_OOM says what was asked and what lowers it', async () => {
    const limited = script(`ulimit -v 1500000; exec ${python} "$@"`);
    const trainer = await Trainer.start({ python: limited });
    try {
      const session = await Session.on(trainer, {
        ...{ model: await makeModel(CONFIGS.llama!, 44), device: 'cpu', dtype: 'float32', threads: 1, seed: 1 },
        ...{ checkpointing: false, frozen: true },
      });
      await session.reserve(1);
      // Hidden states take 800,000 * 24 * 4 bytes, many times.
      const ids = new Array<number>(800_000).fill(1);
      const sequenceOffsets = Array.from({ length: ids.length / 400 + 1 }, (_, s) => 400 * s);
      const forward = { ids, sequenceOffsets, rows: [0], train: false };
      await expect(trainer.request('forward', forward)).rejects.toMatchObject({
        ...{ code: 'ERR_OOM', message: expect.stringMatching(/\d+ bytes asked, \d+ bytes free; --micro-tokens/) },
      });
      // The trainer goes on.
      await trainer.request('forward', { ids: [1], sequenceOffsets: [0, 1], rows: [0], train: false });
    } finally {
      await trainer.end();
    }
  });

  it('ends with the signal named, and leaves no shared memory', async () => {
    const session = await open(await makeModel(CONFIGS.llama!, 45));
    await session.reserve(8);
    expect(sharedMemory()).toEqual([]);
    process.kill(session.trainer.pid, 'SIGKILL');
    await expect(session.trainer.request('backward', {})).rejects.toMatchObject({
      ...{ code: 'ERR_TRAINER', message: expect.stringMatching(/signal SIGKILL during backward/) },
    });
    expect(session.trainer.isRunning).toBe(false);
  });
});
