import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { readSafetensors } from 'sweet-rl/safetensors';
import { afterAll, describe, expect, it } from 'vitest';
import { scriptedHuman } from '../../src/benchmark/human.js';
import { findCommand } from '../../src/commands/table.js';
import { readConfig } from '../../src/run/config.js';
import { planStages } from '../../src/run/stages.js';
import { BYTE_CHARACTERS, trainBpe } from '../../src/tiny/bpe.js';
import { writeExample } from '../../src/tiny/example.js';
import { makeTinyModel, packageText } from '../../src/tiny/folder.js';
import { replyOf, scriptedDialogue, tinyDialogues, tinyScript, tinyTasks } from '../../src/tiny/tasks.js';

const folder = mkdtempSync(join(tmpdir(), 'colbench-tiny-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('trainBpe', () => {
  it('merges the most frequent pair first, ties by the lower ids', () => {
    const { tokens, merges } = trainBpe('abab abab abab cd cd', 1000);
    expect(merges.slice(0, 2)).toEqual([
      ['a', 'b'],
      ['ab', 'ab'],
    ]);
    expect(tokens.slice(256, 258)).toEqual(['ab', 'abab']);
    // What occurs twice: the space is byte 32, below the letters, and goes first.
    expect(tokens.slice(258)).toEqual(['Ġc', 'Ġabab', 'Ġcd']);
  });

  it('has a character for each byte', () => {
    expect(new Set(BYTE_CHARACTERS).size).toBe(256);
    expect(BYTE_CHARACTERS[32]).toBe('Ġ');
    expect(BYTE_CHARACTERS.every((character) => /^[^\s\p{C}]$/u.test(character))).toBe(true);
  });
});

describe('the model folder', () => {
  const made = (name: string, seed: number) => {
    const path = join(folder, name);
    return { path, numbers: makeTinyModel(path, { small: true, seed }) };
  };
  const { path, numbers } = made('a', 1);
  const json = (name: string) => JSON.parse(readFileSync(join(path, name), 'utf8'));
  const tokenizer = new Tokenizer(json('tokenizer.json'), json('tokenizer_config.json'));
  const encode = (text: string): number[] => tokenizer.encode(text, { add_special_tokens: false }).ids;

  it('has all files, and the shapes of its configuration', () => {
    expect(numbers).toMatchObject({ vocabSize: 1024, layers: 2, hidden: 64 });
    expect(readdirSync(path).sort()).toEqual([
      ...['chat_template.jinja', 'config.json', 'generation_config.json', 'model.safetensors', 'tokenizer.json'],
      'tokenizer_config.json',
    ]);
    const { tensors } = readSafetensors(join(path, 'model.safetensors'));
    expect(tensors['model.embed_tokens.weight']!.shape).toEqual([1024, 64]);
    expect(tensors['model.layers.1.self_attn.k_proj.weight']!.shape).toEqual([32, 64]);
    expect(tensors['lm_head.weight']).toBeUndefined();
    const data = tensors['model.layers.0.mlp.up_proj.weight']!.data as Float32Array;
    const variance = data.reduce((sum, x) => sum + x * x, 0) / data.length;
    // 11,264 numbers: the deviation has a relative standard error of 0.7 %.
    expect(Math.abs(Math.sqrt(variance) / 0.08 - 1)).toBeLessThan(0.025);
  });

  it('restores texts exactly', () => {
    const texts = [
      ...[' ', 'a', "don't  stop\n\n  def f(x):\r\n\treturn x ** 2  # ok", 'Grüße, 東京 🙂 e\u0301 \u0000\u00ad'],
      ...['12345 67', packageText().slice(0, 5000)],
    ];
    for (const text of texts) {
      const ids = encode(text);
      expect(tokenizer.decode(ids, { clean_up_tokenization_spaces: false })).toBe(text);
    }
  });

  it('has control tokens after the merges', () => {
    const ids = encode('<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>');
    expect(ids[0]).toBe(json('config.json').bos_token_id);
    expect(ids.at(-1)).toBe(json('config.json').eos_token_id);
    expect(Math.max(...ids)).toBe(1023);
  });

  it('is the same for a seed', () => {
    const bytes = (name: string, file: string) => readFileSync(join(folder, name, file));
    made('b', 1);
    made('c', 2);
    for (const file of readdirSync(path)) expect(bytes('b', file).equals(bytes('a', file)), file).toBe(true);
    expect(bytes('c', 'model.safetensors').equals(bytes('a', 'model.safetensors'))).toBe(false);
    expect(() => makeTinyModel(path, { small: true, seed: 1 })).toThrow(/is not empty/);
  });
});

describe('the example', () => {
  it('has a simulated user that answers as the demonstrations', async () => {
    const human = scriptedHuman(tinyScript());
    for (const tiny of tinyTasks()) {
      const { task, dialogue_history } = scriptedDialogue(tiny, 'careful');
      for (const [i, { role, content }] of dialogue_history.entries()) {
        if (role === 'user' && i > 0) expect(await human(task, dialogue_history.slice(0, i), {})).toBe(content);
      }
      const vain = [{ role: 'assistant', content: 'Can you tell me more?' }];
      expect(await human(task, vain, {})).toBe(replyOf(tiny, 'Can you tell me more?'));
    }
  });

  it('has a RUN.json whose stages and options exist, and tasks apart', async () => {
    const path = join(folder, 'example');
    writeExample(path);
    const { stages, tests } = await planStages(readConfig(join(path, 'RUN.json')), findCommand);
    expect(Object.keys(tests)).toEqual(['zero-shot', 'dpo', 'sweet']);
    expect(stages.length).toBeGreaterThan(12);
    const tasksOf = (name: string) => readFileSync(join(path, name), 'utf8').trim().split('\n');
    const [train, test] = [tasksOf('train.jsonl'), tasksOf('test.jsonl')];
    expect([train.length, test.length]).toEqual([60, 20]);
    expect(train.filter((line) => test.includes(line))).toEqual([]);
  });
});

describe('generated tasks', () => {
  it('are 80 different ones with ten calls each', () => {
    const tasks = tinyTasks();
    expect(new Set(tasks.map(({ task }) => task.ground_truth)).size).toBe(80);
    for (const { task } of tasks) expect(task.test_cases).toHaveLength(10);
  });

  it('have dialogues in which two questions uncover the program', () => {
    const tiny = tinyTasks()[17]!;
    const { dialogue_history, reward } = scriptedDialogue(tiny, 'careful');
    expect(dialogue_history.map(({ role }) => role)).toEqual([
      ...['user', 'assistant', 'user', 'assistant', 'user', 'assistant'],
    ]);
    expect(reward).toBe(1);
    expect(replyOf(tiny, 'How are you?')).toBe('What do you want to know?');
    const rewards = tinyDialogues(10, 1).map((dialogue) => dialogue.reward);
    expect(rewards.filter((each) => each === 0).length / rewards.length).toBeCloseTo(0.09, 1);
  });
});
