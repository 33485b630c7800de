/** `converse` with endpoints and with a model folder: stopped, resumed, as released. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { converseCommand } from '../../src/commands/converse.ts';
import { TextTokenizer } from '../../src/tokens/index.ts';
import { cli, runWith } from '../helpers/cli.ts';
import { type Answer, endpoint } from '../helpers/endpoint.ts';
import { linesOf, PACKAGE, testFolder, writeLines } from '../helpers/files.ts';
import { EOT, modelFolder, tokenizerConfig, tokenizerJson } from '../helpers/model-folder.ts';
import { type Stub, stubModels } from '../helpers/stub-model.ts';

const folder = testFolder('converse');
const sample = join(PACKAGE, 'sample');
const script = join(sample, 'script.json');
const tasks = linesOf(join(sample, 'tasks.jsonl')) as { problem_description: string; ground_truth: string }[];
const parties = ['--human', script, '--unsafe', '--python', 'python3'];
const converse = (out: string, ...more: string[]) =>
  cli(['converse', join(sample, 'tasks.jsonl'), '--out', out, '--concurrency', '1', ...parties, ...more]);

describe('an endpoint', () => {
  it('stops at a request that is refused, and resumes', async () => {
    let broken = true;
    const { url, requests } = await endpoint(({ messages }): Answer => {
      const about = tasks.find(({ problem_description }) => messages[1]!.content === problem_description)!;
      if (broken && about === tasks[1]) return { status: 401, text: 'no such key' };
      return messages.length < 4 ? 'Which country?' : `I WANT TO ANSWER: ${about.ground_truth}`;
    });
    const out = join(folder, 'offline.jsonl');
    const run = (...more: string[]) =>
      converse(out, '--agent', url, '--agent-model', 'stub', '--samples', '2', ...more);
    const first = await run('--json');
    expect(first).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/401: no such key[\s\S]*ERR_UNFINISHED.*resumes/),
    });
    expect(JSON.parse(first.stdout)).toMatchObject({ dialogues: 2, failed: 1 });
    broken = false;
    const before = requests.length;
    const second = await run('--json');
    expect(second.code).toBe(0);
    expect(JSON.parse(second.stdout)).toEqual({ dialogues: 4, testsPassed: 1, success: 1 });
    expect(requests.length - before).toBe(4);
    const lines = linesOf(out);
    expect(new Set(lines.map(({ id }) => id)).size).toBe(4);
    // The journal has them as they ended: the first task's, then those that were refused before.
    writeLines(out, [...lines].reverse());
    expect((await run()).code).toBe(0);
    expect(linesOf(out)).toEqual(lines);
    for (const { reward, dialogue_history } of lines) expect([reward, dialogue_history.length]).toEqual([1, 4]);
    expect(lines[0].dialogue_history[2].content).toMatch(/^5 within Germany/);
    expect(await run('--agent-temperature', '0.5')).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^ERR_JOURNAL: .*other settings/),
    });
  });

  it('as released: prompts of files, the settings and the evaluator of the released code', async () => {
    const [agentPrompt, humanPrompt] = ['agent.txt', 'human.txt'].map((name) => join(folder, name)) as [string, string];
    writeFileSync(agentPrompt, 'AGENT {dialogue_history}');
    writeFileSync(humanPrompt, '{problem_description}|{dialogue_history}');
    const agent = await endpoint(({ messages }) => {
      const about = tasks.find(({ problem_description }) => messages[1]!.content === problem_description)!;
      return messages.length < 4 ? 'OUTPUT: why?' : `# import os\nOUTPUT: I WANT TO ANSWER:${about.ground_truth}`;
    });
    const human = await endpoint(() => ({ status: 400, text: 'refused' }));
    const out = join(folder, 'released.jsonl');
    const args = [
      '--agent',
      agent.url,
      '--agent-model',
      'a',
      '--human',
      human.url,
      '--human-model',
      'h',
      '--as',
      'released',
    ];
    const prompts = ['--agent-prompt', agentPrompt, '--human-prompt', humanPrompt];
    const { code, stderr } = await cli([
      ...['converse', join(sample, 'tasks.jsonl'), '--out', out, '--unsafe', '--concurrency', '1'],
      ...args,
      ...prompts,
    ]);
    expect([code, stderr]).toEqual([0, expect.any(String)]);
    expect(agent.requests[0]).toMatchObject({ temperature: 1, max_tokens: 1024 });
    expect(agent.requests[0]!.messages[0]!.content).toBe('AGENT {dialogue_history}');
    expect(human.requests[0]).toMatchObject({ temperature: 0, max_tokens: 4096 });
    const [first] = linesOf(out);
    expect(first.dialogue_history[2].content).toBe('No response.');
    expect(first.answer).toBe(tasks[0]!.ground_truth);
    // Two of the ten calls give None, with which no answer agrees.
    expect(first.reward).toBe(0.8);
    const missing = await cli(['converse', 'x', '--out', out, ...args]);
    expect(missing).toMatchObject({ code: 2, stderr: expect.stringMatching(/needs --agent-prompt/) });
  });

  it('needs its options', async () => {
    const of = async (...args: string[]) => (await converse(join(folder, 'none.jsonl'), ...args)).stderr.split('\n')[0];
    expect(await of()).toMatch(/converse needs --agent/);
    expect(await of('--agent', 'http://127.0.0.1:1')).toMatch(/needs --agent-model/);
    expect(await of('--agent', folder)).toMatch(/ERR_MODEL: .*has no config\.json/);
    expect(await of('--agent', folder, '--agent-prompt', 'x')).toMatch(/--agent-prompt needs --as released/);
    expect((await converse(join(folder, 'x.jsonl.gz'), '--agent', folder)).stderr).toMatch(/^--out of converse.*\.gz/);
    expect(await of('--agent', folder, '--human', '/nonexistent')).toMatch(/--human: .*ENOENT/);
  });
});

describe('a model folder', () => {
  const text = new TextTokenizer(tokenizerJson, tokenizerConfig);
  const model = modelFolder(join(folder, 'model'));
  const agent: Stub['sample'] = (prompt) => {
    const shown = text.decode(prompt);
    const asked = shown.includes('Which country?');
    const about = tasks.find(({ problem_description }) => shown.includes(problem_description))!;
    const reply = asked ? `I WANT TO ANSWER: ${about.ground_truth}` : 'Which country?';
    return { ids: [...text.encodePlain(reply), EOT], stop: 'stop' };
  };
  const file = writeLines(join(folder, 'tasks.jsonl'), tasks);
  const run = (out: string, stub: Stub['sample'], signal?: AbortSignal) => {
    const { openModel, state } = stubModels({ sample: stub! });
    const values = { out, agent: model, human: script, samples: '3', batch: '4', concurrency: '2', unsafe: true };
    return { state, ended: runWith(converseCommand(openModel), [file], values, signal) };
  };

  it('holds dialogues in lock step, and goes on with the wave that was interrupted', async () => {
    const whole = join(folder, 'whole.jsonl');
    const first = run(whole, agent);
    expect((await first.ended).summary).toEqual({ dialogues: 6, testsPassed: 1, success: 1 });
    // Two turns of a wave of 4, then of one of 2.
    expect([first.state.batches, first.state.open]).toEqual([[4, 4, 2, 2], 0]);

    const out = join(folder, 'stopped.jsonl');
    const controller = new AbortController();
    let samples = 0;
    const stopping = run(
      out,
      (...all) => {
        if (++samples === 10) controller.abort();
        return agent!(...all);
      },
      controller.signal,
    );
    await stopping.ended.catch(() => {});
    expect(linesOf(out).length).toBeLessThan(6);
    const second = run(out, agent);
    await second.ended;
    const sorted = (path: string) =>
      linesOf(path)
        .map((line) => JSON.stringify(line))
        .sort();
    expect(sorted(out)).toEqual(sorted(whole));
    expect(second.state.batches.at(-1)).toBe(2);
  });

  it('reports a failure of the sampler', async () => {
    const { ended, state } = run(join(folder, 'failed.jsonl'), () => {
      throw Object.assign(new Error('out of memory'), { code: 'ERR_OOM' });
    });
    await expect(ended).rejects.toMatchObject({ code: 'ERR_OOM' });
    expect(state.open).toBe(0);
    expect(readFileSync(join(folder, 'failed.jsonl'), 'utf8')).toBe('');
  });
});
