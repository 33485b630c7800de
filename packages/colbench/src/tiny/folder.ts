/** The test model: a complete model folder, made in seconds without a network. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeSafetensors } from 'sweet-rl/safetensors';
import { agentInstructions } from '../benchmark/protocol.js';
import { CommandError } from '../errors.js';
import { FolderReplacement, writeWhole } from '../files.js';
import { uniforms } from '../trainer/batches.js';
import { type Bpe, PIECES, trainBpe } from './bpe.js';
import { tinyDialogues } from './tasks.js';

/** In the order of their ids, after the merges. */
const CONTROL = ['<|begin_of_text|>', '<|end_of_text|>', '<|start_header_id|>', '<|end_header_id|>', '<|eot_id|>'];

/** Llama 3's, without its trimming of contents. */
const TEMPLATE = `{{- bos_token }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
`;

export interface TinyOptions {
  /** 1024 entries and 2 layers of 64 instead of 8192 and 4 of 128. */
  small: boolean;
  seed: number;
}

const sizes = (small: boolean) =>
  small
    ? { vocab: 1024, hidden_size: 64, intermediate_size: 176, num_hidden_layers: 2 }
    : { vocab: 8192, hidden_size: 128, intermediate_size: 352, num_hidden_layers: 4 };

/** The package's own text: the guide, the samples, generated dialogues, and a Python program, since models write programs. */
export function packageText(): string {
  const root = fileURLToPath(new URL('../../', import.meta.url));
  const sample = join(root, 'sample');
  const files = [
    join(root, 'README.md'),
    join(root, 'trainer.py'),
    ...(existsSync(sample) ? readdirSync(sample).map((name) => join(sample, name)) : []),
  ];
  const texts = files
    .filter((file) => /\.(md|jsonl|json|py)$/.test(file) && existsSync(file))
    .sort()
    .map((file) => textOf(readFileSync(file, 'utf8'), file));
  const dialogues = tinyDialogues(1, 1).flatMap(({ task, dialogue_history }) => [
    // The system message of every conversation.
    agentInstructions,
    ...dialogue_history.map(({ content }) => content),
    ...(task.test_cases ?? []),
  ]);
  return [...texts, ...dialogues].join('\n');
}

/** The strings of JSON lines, as they are encoded later; other files as they are. */
function textOf(text: string, file: string): string {
  if (!file.endsWith('.jsonl')) return text;
  const strings: string[] = [];
  for (const line of text.split('\n').filter(Boolean)) {
    JSON.parse(line, (_, value) => {
      if (typeof value === 'string') strings.push(value);
      return value;
    });
  }
  return strings.join('\n');
}

/** Makes the folder. @returns its numbers @throws CommandError ERR_OUT where it has files */
export function makeTinyModel(folder: string, { small, seed }: TinyOptions): Record<string, number> {
  if (existsSync(folder) && readdirSync(folder).length > 0) {
    throw new CommandError('ERR_OUT', `${folder} is not empty`);
  }
  const { vocab, ...shape } = sizes(small);
  const bpe = trainBpe(packageText(), vocab - CONTROL.length);
  const id = (token: string) => bpe.tokens.length + CONTROL.indexOf(token);
  const config = {
    ...{ architectures: ['LlamaForCausalLM'], model_type: 'llama', ...shape },
    ...{ num_attention_heads: 4, num_key_value_heads: 2, vocab_size: bpe.tokens.length + CONTROL.length },
    ...{ max_position_embeddings: 8192, rope_theta: 10000, rms_norm_eps: 1e-5, hidden_act: 'silu' },
    ...{ attention_bias: false, mlp_bias: false, tie_word_embeddings: true, torch_dtype: 'float32' },
    ...{ bos_token_id: id('<|begin_of_text|>'), eos_token_id: id('<|eot_id|>') },
  };
  const weights = randomWeights(config, seed);
  const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;
  const made = new FolderReplacement(folder);
  const write = (name: string, text: string) => writeWhole(join(made.path, name), text);
  try {
    write('config.json', json(config));
    const generation = { bos_token_id: config.bos_token_id, eos_token_id: [id('<|end_of_text|>'), id('<|eot_id|>')] };
    write('generation_config.json', json(generation));
    write('tokenizer.json', JSON.stringify(tokenizerJson(bpe)));
    const tokenizerConfig = {
      ...{ tokenizer_class: 'PreTrainedTokenizerFast', bos_token: '<|begin_of_text|>', eos_token: '<|eot_id|>' },
      ...{ model_max_length: config.max_position_embeddings, clean_up_tokenization_spaces: false },
    };
    write('tokenizer_config.json', json(tokenizerConfig));
    write('chat_template.jinja', TEMPLATE);
    writeSafetensors(join(made.path, 'model.safetensors'), { tensors: weights, metadata: { format: 'pt' } });
    made.commit();
  } finally {
    made.discard();
  }
  const parameters = Object.values(weights).reduce((sum, { data }) => sum + data.length, 0);
  return { vocabSize: config.vocab_size, layers: config.num_hidden_layers, hidden: config.hidden_size, parameters };
}

/** A tokenizer.json as Hugging Face's library writes it for byte-level BPE. */
export function tokenizerJson({ tokens, merges }: Bpe): Record<string, unknown> {
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: CONTROL.map((content, i) => ({ id: tokens.length + i, content, ...flags })),
    normalizer: null,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [{ type: 'Split', pattern: { Regex: PIECES }, behavior: 'Isolated', invert: false }, byteLevel],
    },
    post_processor: { ...byteLevel, trim_offsets: false },
    decoder: byteLevel,
    model: {
      ...{ type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null },
      ...{ fuse_unk: false, byte_fallback: false, ignore_merges: false },
      vocab: Object.fromEntries(tokens.map((token, i) => [token, i])),
      merges,
    },
  };
}

export type TinyConfig = Record<
  | 'vocab_size'
  | 'hidden_size'
  | 'intermediate_size'
  | 'num_hidden_layers'
  | 'num_attention_heads'
  | 'num_key_value_heads',
  number
>;

/**
 * Normal; norms 1. The standard deviation of embeddings is 0.02, as Llama's; that of products is H^-0.5: with 0.02 there
 * too, `--train` gave right answers with a mean probability of 0.03 after 260 steps. With 0.08 it took 80 steps for H = 128, with
 * H^-0.5 60.
 */
export function randomWeights(
  config: TinyConfig,
  seed: number,
): Record<string, { data: Float32Array; shape: number[] }> {
  const { vocab_size: V, hidden_size: H, intermediate_size: M } = config;
  const kv = (H / config.num_attention_heads) * config.num_key_value_heads;
  const uniform = uniforms(seed);
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  const matrix = (rows: number, columns: number, deviation = 1 / Math.sqrt(H)) => ({
    data: Float32Array.from({ length: rows * columns }, () => deviation * normal()),
    shape: [rows, columns],
  });
  const ones = () => ({ data: new Float32Array(H).fill(1), shape: [H] });
  const weights: ReturnType<typeof randomWeights> = { 'model.embed_tokens.weight': matrix(V, H, 0.02) };
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const at = `model.layers.${layer}.`;
    weights[`${at}input_layernorm.weight`] = ones();
    weights[`${at}mlp.down_proj.weight`] = matrix(H, M);
    weights[`${at}mlp.gate_proj.weight`] = matrix(M, H);
    weights[`${at}mlp.up_proj.weight`] = matrix(M, H);
    weights[`${at}post_attention_layernorm.weight`] = ones();
    weights[`${at}self_attn.k_proj.weight`] = matrix(kv, H);
    weights[`${at}self_attn.o_proj.weight`] = matrix(H, H);
    weights[`${at}self_attn.q_proj.weight`] = matrix(H, H);
    weights[`${at}self_attn.v_proj.weight`] = matrix(kv, H);
  }
  weights['model.norm.weight'] = ones();
  return weights;
}
