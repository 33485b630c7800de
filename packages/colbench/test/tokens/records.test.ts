/** Records as sequences: the prefix c, maximum lengths, truncation. */
import { describe, expect, it } from 'vitest';
import {
  ChatTemplate,
  ChatTokenizer,
  candidateSequence,
  dialogueMessages,
  dialogueStates,
  encodeDialogue,
  ownPrivileged,
  releasedPrivileged,
  TextTokenizer,
} from '../../src/tokens/index.ts';
import { BEGIN, llamaTemplate, tokenizerConfig, tokenizerJson } from '../helpers/model-folder.ts';

const text = new TextTokenizer(tokenizerJson, tokenizerConfig);
const chat = new ChatTokenizer(text, new ChatTemplate(llamaTemplate, tokenizerConfig));
const task = { problem_description: 'p', ground_truth: 'def f(x): return $& <|eot_id|>', test_cases: ['f(1)'] };
const input = (messages: number) => [
  { role: 'system', content: 'Rules.' },
  ...Array.from({ length: messages }, (_, i) => ({ role: i % 2 === 0 ? 'user' : 'assistant', content: `m${i}` })),
];
const history = Array.from({ length: 6 }, (_, i) =>
  i % 2 === 0
    ? { role: 'user', content: `m${i}` }
    : { role: 'assistant', content: `m${i}`, input: input(i), output: `m${i}` },
);
const decoded = (ids: Int32Array) => text.decode(ids);
const long = { maxLength: 10_000 };

describe('the messages of a dialogue', () => {
  it('are the last input of the agent and its output', () => {
    expect(dialogueMessages(history)).toEqual([...input(5), { role: 'assistant', content: 'm5' }]);
    expect(dialogueMessages(history.slice(0, 5))).toHaveLength(5);
    expect(dialogueStates(history)).toEqual([input(1), input(3), input(5)]);
  });

  it('are the instructions and the history where the input is missing or a text', () => {
    const plain = history.map(({ role, content }, i) => ({
      role: role === 'assistant' ? 'agent' : role,
      content,
      ...(i === 5 && { input: 'text' }),
    }));
    const messages = dialogueMessages(plain);
    expect(messages.map(({ role }) => role)).toEqual([
      'system',
      'user',
      'assistant',
      'user',
      'assistant',
      'user',
      'assistant',
    ]);
    expect(messages[0]!.content).toMatch(/^You are a software engineer/);
    expect(dialogueMessages([{ role: 'user', content: 'x' }])).toEqual([]);
  });
});

describe('the prefix c', () => {
  it('is the first part of the system message, as ordinary text', () => {
    const { sequences } = encodeDialogue(chat, 'd', task, history, { ...long, privileged: ownPrivileged });
    const shown = decoded(sequences[0]!.ids);
    expect(shown).toContain(
      `system<|end_header_id|>\n\nHidden reference solution:\n${task.ground_truth}\n\nRules.<|eot_id|>`,
    );
    const without = encodeDialogue(chat, 'd', task, history, long).sequences[0]!;
    const turns = (sequence: typeof without) =>
      sequence.turns.map(({ start, end }) => decoded(sequence.ids.subarray(start, end)));
    expect(turns(sequences[0]!)).toEqual(turns(without));
    expect(turns(without)).toEqual(['m1<|eot_id|>', 'm3<|eot_id|>', 'm5<|eot_id|>']);
    expect(decoded(without.ids)).not.toContain('def f');
  });

  it('of the released code stands before the begin-of-text token', () => {
    const [sequence] = encodeDialogue(chat, 'd', task, history, {
      ...long,
      privileged: releasedPrivileged,
      headerTokens: 1,
      released: true,
    }).sequences;
    const c = `In light that the final answer is: ${task.ground_truth}.`;
    expect(decoded(sequence!.ids).startsWith(`${c}<|begin_of_text|>`)).toBe(true);
    expect(sequence!.ids[text.encodePlain(c).length]).toBe(BEGIN);
    // The mask of its training begins after <|end_header_id|>.
    expect(sequence!.turns.map(({ start, end }) => decoded(sequence!.ids.subarray(start, end)))).toEqual([
      '\n\nm1<|eot_id|>',
      '\n\nm3<|eot_id|>',
      '\n\nm5 <|eot_id|>',
    ]);
  });
});

describe('a sequence that is too long', () => {
  const length = encodeDialogue(chat, 'd', task, history, { ...long, privileged: ownPrivileged }).sequences[0]!.ids
    .length;
  const encode = (options: object) =>
    encodeDialogue(chat, 'd', task, history, { privileged: ownPrivileged, ...long, ...options });

  it('is left out and counted', () => {
    expect(encode({ maxLength: length })).toMatchObject({ leftOut: 0, sequences: [{}] });
    expect(encode({ maxLength: length - 1 })).toEqual({ sequences: [], leftOut: 1, truncated: 0 });
    const each = encode({ maxLength: length - 1, perTurn: true });
    expect([each.sequences.map(({ id }) => id), each.leftOut]).toEqual([['d#0', 'd#1'], 1]);
  });

  it('is cut by whole turns from the left, never c', () => {
    const { sequences, truncated, leftOut } = encode({ maxLength: length - 1, truncate: true });
    expect([truncated, leftOut]).toEqual([1, 0]);
    const shown = decoded(sequences[0]!.ids);
    expect(shown).toContain(`${task.ground_truth}\n\nRules.`);
    expect(shown).toContain('user<|end_header_id|>\n\nm2<|eot_id|>');
    expect(shown).not.toMatch(/m0|m1/);
    expect(sequences[0]!.turns).toHaveLength(2);
    expect(encode({ maxLength: 20, truncate: true })).toEqual({ sequences: [], leftOut: 1, truncated: 0 });
  });
});

describe('as the released trainer', () => {
  const ended = history.map((message, i) => (i + 1 === history.length ? { ...message, output: 'm5\n\n' } : message));
  const encode = (maxLength: number, released: boolean) =>
    encodeDialogue(chat, 'd', task, ended, { maxLength, released, headerTokens: 1 });
  const texts = ({ sequences }: ReturnType<typeof encode>) =>
    sequences[0]!.turns.map(({ start, end }) => decoded(sequences[0]!.ids.subarray(start, end)));

  it('removes line ends at the end, and puts a space before the last end-of-turn token, without c too', () => {
    expect(texts(encode(long.maxLength, true)).at(-1)).toBe('\n\nm5 <|eot_id|>');
  });

  it('cuts on the right; the last token becomes the end of a turn', () => {
    const [whole] = encode(long.maxLength, true).sequences;
    const second = whole!.turns[1]!;
    const cut = encode(second.start + 2, true);
    expect([cut.leftOut, cut.truncated]).toEqual([0, 1]);
    expect(cut.sequences[0]!.ids).toHaveLength(second.start + 2);
    expect(texts(cut)).toEqual(['\n\nm1<|eot_id|>', '\n\n<|eot_id|>']);
    expect([...cut.sequences[0]!.ids.slice(0, -1)]).toEqual([...whole!.ids.slice(0, second.start + 1)]);
    // Nothing of the agent is left.
    expect(encode(whole!.turns[0]!.start, true)).toEqual({ sequences: [], leftOut: 1, truncated: 1 });
    expect(encode(second.start + 2, false)).toEqual({ sequences: [], leftOut: 1, truncated: 0 });
  });
});

it('a candidate is the only turn after its prompt', () => {
  const prompt = chat.encodePrompt('d', input(1));
  const candidate = chat.encodeReply('m1');
  const sequence = candidateSequence('c', prompt, candidate);
  const [whole] = chat.encodeDialogue('d', [...input(1), { role: 'assistant', content: 'm1' }]);
  expect([...sequence.ids]).toEqual([...whole!.ids]);
  expect(sequence.turns).toEqual(whole!.turns);
});
