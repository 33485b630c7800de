/** `tiny`: the test model. */
import { join } from 'node:path';
import type { Command } from '../command.js';
import { modelOptionsOf } from '../model.js';
import { writeExample, writeFrontendExample } from '../tiny/example.js';
import { makeTinyModel } from '../tiny/folder.js';
import { trainTinyModel } from '../tiny/train.js';
import { onePositional, Values } from '../values.js';

const usage = `colbench tiny FOLDER [--small] [--train] [--example] [--seed N]
colbench tiny FOLDER --frontend [--seed N]
  Makes a complete model folder in seconds, without a network: Llama with random weights, a byte-level BPE tokenizer trained on
  this package's text, a chat template in the style of Llama 3. For tests and for trying the commands.

  --small                    2 layers of 64 and at most 1024 entries, instead of 4 of 128 and 8192
  --train                    clones scripted dialogues of generated tasks until half of the answers on others are right
  --example                  FOLDER/model is the model; beside it are tasks, a simulated user and the RUN.json of a short
                             comparison of SWEET-RL with multi-turn DPO
  --frontend                 no model: 20 synthetic frontend tasks and the RUN.json of scripted conversations about them
  --seed N                   of the weights, the dialogues and the order (1)
  --threads N                of the training (number of CPUs; 1 with --small)
  --trainer-python FILE      the interpreter that has torch (python3)
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
      frontend: { type: 'boolean' },
      seed: { type: 'string' },
    },
    ...{ threads: { type: 'string' }, 'trainer-python': { type: 'string' } },
  },
  run: async (input) => {
    const values = new Values('tiny', input.values);
    const given = onePositional(input, 'tiny', 'folder');
    if (values.flag('frontend')) {
      const rest = ['small', 'train', 'example', 'threads', 'trainer-python'];
      for (const name of rest) values.exclusive('frontend', name);
      return writeFrontendExample(given, values.number('seed', 1, 0, 2 ** 32 - 1));
    }
    const folder = values.flag('example') ? join(given, 'model') : given;
    const seed = values.number('seed', 1, 0, 2 ** 32 - 1);
    const small = values.flag('small');
    const made = { folder, ...makeTinyModel(folder, { small, seed }) };
    if (values.flag('example')) writeExample(given);
    if (!values.flag('train')) return made;
    // The products of the small model are too short to share: on a busy machine of 2 cores, 2 threads took 75 s of CPU time and had not
    // ended after 4 minutes, one took 28 s.
    const { threads = small ? 1 : undefined, python } = modelOptionsOf(values);
    const { progress, signal } = input;
    return { ...made, ...(await trainTinyModel(folder, { seed, threads, python, progress, signal })) };
  },
};
