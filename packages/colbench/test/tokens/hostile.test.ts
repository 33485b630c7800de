/** Templates and tokenizers that are broken or hostile: a named error, and no endless loop. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { stopTokens, tokenizerOf } from '../../src/tokens/folder.ts';
import { ChatTemplate, ChatTokenizer } from '../../src/tokens/index.ts';
import { Values } from '../../src/values.ts';
import { testFolder } from '../helpers/files.ts';
import { modelFolder, tokenizerConfig, tokenizerJson } from '../helpers/model-folder.ts';

const folder = testFolder('hostile');
let count = 0;
const load = (template: string, files: Record<string, unknown> = {}) => {
  const path = modelFolder(join(folder, String(count++)), template);
  for (const [name, value] of Object.entries(files)) writeFileSync(join(path, name), JSON.stringify(value));
  return () => ChatTokenizer.load(path);
};
const template = `{% for m in messages %}{{ m.role }}{{ m.content }}{% endfor %}`;

it.each([
  ['a syntax error', '{% for x in %}', /cannot be read/],
  ['an exception', "{{ raise_exception('no') }}", /fails: no/],
  ['a list without an end', '{% for i in range(10 ** 12) %}{% endfor %}', /fails/],
  ['a long list', '{% for i in range(1000000000) %}{% endfor %}', /range\(\) of more than 100000/],
  [
    'a text without an end',
    '{% set n = namespace(x="aaaaaaaa") %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}',
    /fails/,
  ],
  ['an undefined name', '{{ nothing }}', /does not show a message of the role user/],
  ['no messages', 'hello', /does not show/],
  ['nothing', '', /does not show|has no chat template/],
])('a template with %s', (_, text, message) => {
  expect(load(text)).toThrow(
    expect.objectContaining({ code: 'ERR_TEMPLATE', message: expect.stringMatching(message) }),
  );
});

it('a template that does not end', () => {
  const loop = '{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}';
  const endless = new ChatTemplate(loop, {}, 0.05);
  expect(() => endless.render([], true)).toThrow(
    expect.objectContaining({ code: 'ERR_TEMPLATE', message: expect.stringMatching(/has not ended after 0.05 s/) }),
  );
  expect(
    new ChatTemplate('{% for i in range(3) %}{{ i }}{% endfor %}{{ range(5, 1, -2) | length }}').render([], true),
  ).toBe('0122');
});

it.each([
  ['tokenizer.json', null, /Expected an object/],
  ['tokenizer.json', {}, /is no tokenizer/],
  ['tokenizer.json', { ...tokenizerJson, added_tokens: 5 }, /is no tokenizer/],
  ['tokenizer.json', { ...tokenizerJson, model: { type: 'X' } }, /is no tokenizer/],
  ['tokenizer.json', { ...tokenizerJson, model: { ...tokenizerJson.model, type: 'Unigram2' } }, /model.type must be/],
  ['tokenizer_config.json', [], /Expected an object/],
  ['tokenizer_config.json', { ...tokenizerConfig, chat_template: template, bos_token: 5 }, /a text for bos_token/],
])('%s of %j', (name, value, message) => {
  const files = { [name]: value };
  expect(load(template, files)).toThrow(
    expect.objectContaining({ code: 'ERR_MODEL', message: expect.stringMatching(message) }),
  );
});

it.each([5, [null, { name: 'x' }], [{ name: 'default', template: 3 }]])('a chat_template of %j', (chat_template) => {
  expect(load(template, { 'tokenizer_config.json': { chat_template } })).toThrow(
    expect.objectContaining({
      code: 'ERR_TEMPLATE',
      message: expect.stringMatching(/has no chat template.*--chat-template/),
    }),
  );
});

it('end tokens that are no ids, and values that are no object', () => {
  const path = modelFolder(join(folder, 'values'), template, { eos_token_id: 'x' });
  const tokenizer = ChatTokenizer.load(path);
  expect(() => stopTokens(path, tokenizer)).toThrow(expect.objectContaining({ code: 'ERR_MODEL' }));
  for (const text of ['[]', '5', 'null', '{']) {
    const values = new Values('score', { 'template-values': text });
    expect(() => tokenizerOf(path, values)).toThrow(expect.objectContaining({ code: 'ERR_USAGE' }));
  }
  rmSync(join(path, 'tokenizer.json'));
  expect(() => ChatTokenizer.load(path)).toThrow(expect.objectContaining({ code: 'ERR_MODEL' }));
});
