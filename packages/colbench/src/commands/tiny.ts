/** `tiny`: the test model. */
import type { Command } from '../command.js';
import { makeTinyModel } from '../tiny/folder.js';
import { onePositional, Values } from '../values.js';

const usage = `colbench tiny FOLDER [--small] [--seed N]
  Makes a complete model folder in seconds, without a network: Llama with random weights, a byte-level BPE tokenizer trained on
  this package's text, a chat template in the style of Llama 3. For tests and for trying the commands.

  --small                    2 layers of 64 and at most 1024 entries, instead of 4 of 128 and 8192
  --seed N                   of the weights (1)
`;

export const command: Command = {
  name: 'tiny',
  summary: 'a small model folder for tests',
  usage,
  options: { small: { type: 'boolean' }, seed: { type: 'string' } },
  run: async (input) => {
    const values = new Values('tiny', input.values);
    const folder = onePositional(input, 'tiny', 'folder');
    const seed = values.number('seed', 1, 0, 2 ** 32 - 1);
    return { folder, ...makeTinyModel(folder, { small: values.flag('small'), seed }) };
  },
};
