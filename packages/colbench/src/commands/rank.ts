/** `rank`: preference pairs of candidates by their scores, which train the policy. */
import { rankedPairs } from '../benchmark/pairs.js';
import { checkedCandidates, readRecords, writeRecords } from '../benchmark/records.js';
import type { Command, CommandInput } from '../command.js';
import { UsageError } from '../errors.js';
import { checkInput, onePositional, Values } from '../values.js';
import { all, Faults } from './shared.js';

/** Pairs that the released code draws at a state; the paper draws one. */
const releasedDraws = 4;

const usage = `colbench rank CANDIDATES --out FILE [--rule halves|best-worst] [--pairs N] [--seed N]
  Preference pairs of candidates from lines with input, candidates and scores. A line of --out has input, chosen and
  rejected, and the tokens and reasons of the end where the candidates have them. Pairs of equal scores are dropped and
  counted.

  --rule halves              chosen from the upper, rejected from the lower half of the scores (default)
  --rule best-worst          the best over the worst
  --pairs N                  draws at each state under halves (1)
  --seed N                   of the draws (0)
  --as released              --rule halves --pairs ${releasedDraws}
`;

const options = ['out', 'rule', 'pairs', 'seed', 'as'];

export const command: Command = {
  name: 'rank',
  summary: 'preference pairs of scored candidates, for the policy',
  usage,
  options: Object.fromEntries(options.map((name) => [name, { type: 'string' }])),
  run: rankCandidates,
};

async function rankCandidates(input: CommandInput): Promise<Record<string, unknown>> {
  const values = new Values('rank', input.values);
  const file = onePositional(input, 'rank', 'file');
  const out = values.outFile();
  const released = values.text('as') !== undefined && values.choice('as', ['released']) === 'released';
  values.exclusive('as', 'rule');
  values.exclusive('as', 'pairs');
  const rule = values.choice('rule', ['halves', 'best-worst']);
  const numPairs = values.number('pairs', released ? releasedDraws : 1, 1, 1e6);
  if (rule === 'best-worst' && numPairs !== 1)
    throw new UsageError('--rule best-worst gives one pair: leave out --pairs');
  const seed = values.number('seed', 0, 0, 2 ** 32 - 1);
  checkInput(file, 'CANDIDATES');
  if (released) input.progress.write(`--as released: ${releasedDraws} draws at each state\n`);
  const faults = new Faults(input.progress);
  const states = await all(readRecords(file, checkedCandidates, { onFault: faults.report }));
  const { pairs, droppedTies, skipped } = rankedPairs(states, { rule, numPairs, seed });
  await writeRecords(out, pairs, () => {});
  return faults.checked({ pairs: pairs.length, states: states.length, droppedTies, statesWithoutPair: skipped });
}
