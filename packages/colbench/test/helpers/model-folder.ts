/** A small tokenizer in the style of Llama 3, and folders with it. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** The characters by which byte-level BPE shows the 256 bytes. */
function byteCharacters(): string[] {
  const shown = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(shown(byte) ? byte : next++));
}

const words = [
  'assistant',
  'system',
  'user',
  '\u010a\u010a',
  'the',
  'and',
  'def',
  'return',
  'function',
  'ing',
  '\u0120x',
  '\u0120I',
];
const controls = ['<|begin_of_text|>', '<|start_header_id|>', '<|end_header_id|>', '<|eot_id|>'];

/** Merges that build each word from the left. */
function bpe() {
  const vocab = new Map(byteCharacters().map((character, id) => [character, id]));
  const merges: [string, string][] = [];
  for (const word of words) {
    let [left, ...rest] = [...word] as [string, ...string[]];
    for (const right of rest) {
      if (!vocab.has(left + right)) {
        merges.push([left, right]);
        vocab.set(left + right, vocab.size);
      }
      left += right;
    }
  }
  return { vocab: Object.fromEntries(vocab), merges };
}

export const { vocab, merges } = bpe();
const first = Object.keys(vocab).length;
/** The ids of the control tokens: begin, h1, h3, eot. */
export const [BEGIN, HEADER, HEADER_END, EOT] = controls.map((_, i) => first + i) as [number, number, number, number];

export const tokenizerJson = {
  version: '1.0',
  truncation: null,
  padding: null,
  added_tokens: controls.map((content, i) => ({
    id: first + i,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  })),
  normalizer: null,
  pre_tokenizer: {
    type: 'Sequence',
    pretokenizers: [
      {
        type: 'Split',
        pattern: { Regex: '\\s*[\\r\\n]+|\\s?[^\\s]+|\\s+' },
        behavior: 'Isolated',
        invert: false,
      },
      { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    ],
  },
  post_processor: null,
  decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
  model: { type: 'BPE', dropout: null, unk_token: null, fuse_unk: false, byte_fallback: false, vocab, merges },
};

export const tokenizerConfig = { bos_token: '<|begin_of_text|>', eos_token: '<|eot_id|>' };

/** As that of Llama 3: contents are trimmed. */
export const llamaTemplate = `{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n{{ message['content'] | trim }}<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}`;

/** Strips everything up to </think> from earlier turns of the agent, as the templates of reasoning models do. */
export const thinkingTemplate = `{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n{% if message['role'] == 'assistant' and not loop.last %}{{ message['content'].split('</think>')[-1] }}{% else %}{{ message['content'] }}{% endif %}<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}`;

/** A folder with the tokenizer, and a config.json that no trainer needs. */
export function modelFolder(path: string, template: string | undefined = llamaTemplate, config: object = {}): string {
  mkdirSync(path, { recursive: true });
  const write = (name: string, value: unknown) => writeFileSync(join(path, name), JSON.stringify(value));
  write('config.json', { model_type: 'llama', ...config });
  write('tokenizer.json', tokenizerJson);
  write('tokenizer_config.json', { ...tokenizerConfig, ...(template !== undefined && { chat_template: template }) });
  writeFileSync(join(path, 'model.safetensors'), path);
  return path;
}
