/** `tiny`: the test model. */
import { join } from 'node:path';
import type { Command } from '../command.js';
import { modelOptionsOf } from '../model.js';
import { writeExample } from '../tiny/example.js';
import { makeTinyModel } from '../tiny/folder.js';
import { trainTinyModel } from '../tiny/train.js';
import { onePositional, Values } from '../values.js';

const usage = `colbench tiny FOLDER [--small] [--train] [--example] [--seed N]
  Makes a complete model folder in seconds, without a network: Llama with random weights, a byte-level BPE tokenizer trained on
  this package's text, a chat template in the style of Llama 3. For tests and for trying the commands.

  --small                    2 layers of 64 and at most 1024 entries, instead of 4 of 128 and 8192
  --train                    clones scripted dialogues of generated tasks until half of the answers on others are right
  --example                  FOLDER/model is the model; beside it are tasks, a simulated user and the RUN.json of a short
                             comparison of SWEET-RL with multi-turn DPO
  --seed N                   of the weights, the dialogues and the order (1)
  --threads N, --trainer-python FILE   of the training
`;

export const command: Command = {
  name: 'tiny',
  summary: 'a small model folder for tests',
  usage,
  options: {
    ...{
      small: { type: 'boolean' },
      train: { type: 'boolean' },
      example: { type: 'boolean' },
      seed: { type: 'string' },
    },
    ...{ threads: { type: 'string' }, 'trainer-python': { type: 'string' } },
  },
  run: async (input) => {
    const values = new Values('tiny', input.values);
    const given = onePositional(input, 'tiny', 'folder');
    const folder = values.flag('example') ? join(given, 'model') : given;
    const seed = values.number('seed', 1, 0, 2 ** 32 - 1);
    const made = { folder, ...makeTinyModel(folder, { small: values.flag('small'), seed }) };
    if (values.flag('example')) writeExample(given);
    if (!values.flag('train')) return made;
    const { threads, python } = modelOptionsOf(values);
    const { progress, signal } = input;
    return { ...made, ...(await trainTinyModel(folder, { seed, threads, python, progress, signal })) };
  },
};
