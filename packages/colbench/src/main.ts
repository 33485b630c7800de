#!/usr/bin/env node
/** The command line. */
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { Progress } from '../colbench-mini/progress.js';
import { help, parseArguments, UsageError } from './arguments.js';
import { converse } from './converse.js';
import { EndpointError, endpointChat } from './endpoint.js';
import { Evaluator } from './evaluate.js';
import { modelHuman, scriptedHuman } from './human.js';
import { Journal, nameOf } from './journal.js';
import { createLimiter, mapInOrder } from './limiter.js';
import { dialoguePairs, messagePairs } from './pairs.js';
import { checkedCandidates, readAnswers, readDialogues, readRecords, readTasks, writeRecords } from './records.js';
import { buildWall } from './sandbox/wall.js';

/** @typedef {import('./arguments.js').Arguments} Arguments */
/** @typedef {import('./evaluate.js').Evaluation} Evaluation */
/** @typedef {import('./records.js').Fault} Fault */
/** @typedef {import('./records.js').Task} Task */

const percent = (/** @type {number} */ share) => `${(100 * share).toFixed(1)} %`;
const notes = process.stderr;

/** Reports and counts invalid lines. */
class Faults {
  count = 0;

  /** @param {Fault} fault */
  report = ({ file, line, fault }) => {
    this.count += 1;
    notes.write(`${file}${line > 0 ? `, line ${line}` : ''}: ${fault}\n`);
  };
}

const quiet = { onFault: () => {} };

/** Results that may wait for a slow one before them, per running action. */
const bufferFactor = 8;

/**
 * The results in the order of the items, from at most `concurrency` actions at once.
 * @template T, R
 * @param {AsyncIterable<T>} items @param {number} concurrency @param {(item: T) => Promise<R>} action
 */
function mapConcurrently(items, concurrency, action) {
  const limit = createLimiter(concurrency);
  return mapInOrder(items, bufferFactor * concurrency, (item) => limit(() => action(item)));
}

/** @template T @param {AsyncIterable<T>} items */
async function countOf(items) {
  let count = 0;
  for await (const _ of items) count += 1;
  return count;
}

/** @param {Arguments} given @param {AbortSignal} signal */
async function evaluatorOf(given, signal) {
  const python = given.text('python');
  const wall = await buildWall({ ...(python && { python }), unsafe: given.flag('unsafe') });
  if (!wall.isolated) notes.write('No sandbox: the answers run with your permissions on this machine.\n');
  const limits = given.limits();
  return { evaluator: new Evaluator({ wall, limits, signal }), limits, python: wall.python };
}

/** Totals of many evaluations. */
class Summary {
  #answers = 0;
  #reward = 0;
  #solved = 0;
  #withoutTruth = 0;
  /** @type {Map<string, number>} */
  #verdicts = new Map();

  /** @param {Pick<Evaluation, 'reward' | 'success' | 'calls'>} evaluation */
  add({ reward, success, calls }) {
    this.#answers += 1;
    this.#reward += reward;
    this.#solved += Number(success);
    this.#withoutTruth += Number(calls.some(({ verdict }) => verdict === 'no truth'));
    for (const { verdict } of calls) this.#verdicts.set(verdict, (this.#verdicts.get(verdict) ?? 0) + 1);
  }

  print() {
    const n = Math.max(1, this.#answers);
    console.log(`answers       ${this.#answers}`);
    console.log(`tests passed  ${percent(this.#reward / n)}`);
    console.log(`success       ${percent(this.#solved / n)}`);
    const verdicts = [...this.#verdicts].sort(([, a], [, b]) => b - a).map(([verdict, count]) => `${verdict} ${count}`);
    console.log(`calls         ${verdicts.join(', ') || 'none'}`);
    if (this.#withoutTruth > 0) {
      console.log(
        `${this.#withoutTruth} answers belong to tasks whose ground truth fails on a call: they cannot be solved`,
      );
    }
  }
}

/** @param {Arguments} given @param {Faults} faults @param {AbortSignal} signal */
async function evaluateAnswers(given, faults, signal) {
  const { evaluator } = await evaluatorOf(given, signal);
  const total = await countOf(readAnswers(given.file, { onFault: faults.report }));
  const concurrency = given.number('concurrency', availableParallelism(), 1, 1024);
  const progress = new Progress('Evaluating', notes);
  const summary = new Summary();
  async function* evaluated() {
    let done = 0;
    const results = mapConcurrently(readAnswers(given.file, quiet), concurrency, async ({ record }) => ({
      record,
      evaluation: await evaluator.evaluate(record.task, record.answer),
    }));
    for await (const { record, evaluation } of results) {
      summary.add(evaluation);
      progress.update(++done, total);
      const { reward, success, calls, printed, files } = evaluation;
      yield { ...record, reward, success, calls, ...(printed && { printed }), ...(files > 0 && { files }) };
    }
  }
  const out = given.text('out');
  if (out === undefined) await countOf(evaluated());
  else await writeRecords(out, evaluated(), () => {});
  progress.finish('done');
  summary.print();
}

/** @param {Arguments} given @param {'agent' | 'human'} party @param {number} concurrency */
function chatOf(given, party, concurrency) {
  const temperature = given.number(`${party}-temperature`, undefined, 0, 10, false);
  const settings = {
    baseUrl: given.required(`${party}-url`),
    model: given.required(`${party}-model`),
    ...(temperature !== undefined && { temperature }),
  };
  const apiKey = process.env[given.text(`${party}-key-env`) ?? 'OPENAI_API_KEY'];
  const chat = endpointChat({
    ...settings,
    ...(apiKey && { apiKey }),
    timeoutSeconds: given.number('timeout-seconds', 120, 0.1, 86400, false),
    attempts: given.number('attempts', 6, 1, 100),
    concurrency,
  });
  return { chat, settings };
}

/** @param {Arguments} given @param {Faults} faults @param {AbortSignal} signal */
async function converseOnTasks(given, faults, signal) {
  const file = given.required('out');
  const samples = given.number('samples', 1, 1, 1e6);
  const concurrency = given.number('concurrency', availableParallelism(), 1, 1024);
  const agent = chatOf(given, 'agent', concurrency);
  const scriptFile = given.text('human-script');
  if (scriptFile !== undefined && given.text('human-url') !== undefined) {
    throw new UsageError('converse needs --human-script or --human-url, not both');
  }
  const script = scriptFile === undefined ? undefined : JSON.parse(await readFile(scriptFile, 'utf8'));
  const model = script === undefined ? chatOf(given, 'human', concurrency) : undefined;
  const human = model === undefined ? scriptedHuman(script) : modelHuman(model.chat);
  const { evaluator, limits, python } = await evaluatorOf(given, signal);
  const run = nameOf({ agent: agent.settings, human: model?.settings ?? script, limits, python });

  const journal = await Journal.open(file, run, faults.report);
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  let failed = 0;
  try {
    /** @type {Map<string, number>} */
    const copies = new Map();
    async function* jobs() {
      for await (const { record: task } of readTasks(given.file, quiet)) {
        // A task that occurs twice in the file gets twice the samples.
        const name = nameOf(task);
        const copy = copies.get(name) ?? 0;
        copies.set(name, copy + 1);
        for (let sample = 0; sample < samples; sample++) yield { task, id: `${name}/${copy * samples + sample}` };
      }
    }
    const total = samples * (await countOf(readTasks(given.file, { onFault: faults.report })));
    const progress = new Progress('Conversations', notes);
    let done = 0;
    const results = mapConcurrently(jobs(), concurrency, async ({ task, id }) => {
      if (journal.done.has(id) || either.aborted) return;
      try {
        const dialogue = await converse(task, { agent: agent.chat, human, signal: either });
        const { reward } = await evaluator.evaluate(task, dialogue.answer);
        await journal.add(id, { ...dialogue, reward });
      } catch (error) {
        if (either.aborted) return;
        if (!(error instanceof EndpointError)) throw error;
        failed += 1;
        notes.write(`${id}: ${error.message}\n`);
        // A request that the endpoint rejects would be rejected again.
        if (error.status !== undefined && error.status < 500 && error.status !== 429) stop.abort();
      }
    });
    for await (const _ of results) progress.update(++done, total);
    progress.finish(`${journal.done.size} of ${total} dialogues in ${file}`);
    if (journal.done.size < total) {
      notes.write('The same command resumes with the rest.\n');
      process.exitCode = 1;
    }
    const rewards = [];
    for await (const { reward } of journal.entries(() => {})) rewards.push(reward);
    const n = Math.max(1, rewards.length);
    console.log(`dialogues     ${rewards.length}`);
    console.log(`tests passed  ${percent(rewards.reduce((sum, reward) => sum + reward, 0) / n)}`);
    console.log(`success       ${percent(rewards.filter((reward) => reward === 1).length / n)}`);
    if (failed > 0) console.log(`failed        ${failed}`);
  } finally {
    await journal.close();
  }
}

/** @template T @param {AsyncIterable<{ record: T }>} items */
async function all(items) {
  const records = [];
  for await (const { record } of items) records.push(record);
  return records;
}

/** @param {Arguments} given @param {Faults} faults */
async function makePairs(given, faults) {
  const out = given.required('out');
  const source = given.choice('as', ['paper', 'released']);
  if (given.flag('candidates')) {
    const states = await all(readRecords(given.file, checkedCandidates, { onFault: faults.report }));
    const { pairs, droppedTies } = messagePairs(states, source, given.number('seed', 0, 0, 2 ** 32 - 1));
    const lines = pairs.map(({ state, chosen, rejected }) => ({ input: states[state]?.input, chosen, rejected }));
    await writeRecords(out, lines, () => {});
    console.log(`${lines.length} pairs of messages at ${states.length} states, ${droppedTies} ties dropped`);
    return;
  }
  if (given.text('seed') !== undefined)
    throw new UsageError('--seed needs --candidates: pairs of dialogues are not sampled');
  const dialogues = await all(readDialogues(given.file, { onFault: faults.report }));
  const pairs = dialoguePairs(dialogues, source);
  const side = (/** @type {number} */ i) => {
    const { task: _, ...rest } = /** @type {import('./records.js').Dialogue} */ (dialogues[i]);
    return rest;
  };
  function* lines() {
    for (const { chosen, rejected } of pairs) {
      yield { task: dialogues[chosen]?.task, chosen: side(chosen), rejected: side(rejected) };
    }
  }
  await writeRecords(out, lines(), () => {});
  console.log(`${pairs.length} pairs of ${dialogues.length} dialogues`);
}

/** @param {string[]} args */
async function main(args) {
  const given = parseArguments(args);
  if (given === undefined) {
    console.log(help);
    return;
  }
  const interrupted = new AbortController();
  process.once('SIGINT', () => interrupted.abort());
  process.once('SIGTERM', () => interrupted.abort());
  const faults = new Faults();
  const commands = { evaluate: evaluateAnswers, converse: converseOnTasks, pairs: makePairs };
  await commands[/** @type {keyof typeof commands} */ (given.command)](given, faults, interrupted.signal);
  if (faults.count > 0) {
    notes.write(`${faults.count} invalid lines were skipped\n`);
    process.exitCode = 1;
  }
  if (interrupted.signal.aborted) process.exitCode = 130;
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  const { name, message } = /** @type {Error} */ (error);
  const interrupted = name === 'AbortError';
  const usage = error instanceof UsageError;
  notes.write(interrupted ? 'Interrupted.\n' : usage ? `${message}\n\n${help}\n` : `${message}\n`);
  process.exitCode = interrupted ? 130 : usage ? 2 : 1;
}
