/** `train-critic`, `train-policy`, `train-sft`, `train-dpo`, `train-grpo`: from records to a trained model folder. */
import type { Command, CommandInput } from '../command.js';
import { UsageError } from '../errors.js';
import { modelOptionsOf, modelOptionTypes, modelUsage } from '../model.js';
import { privilegedFile, tokenizerOf, tokenOptions, tokenUsage } from '../tokens/folder.js';
import { ownPrivileged, type Privileged, releasedPrivileged } from '../tokens/records.js';
import { readGroups } from '../trainer/groups.js';
import { type GroupLoss, isGroupLoss, type LossOptions, type PairLoss } from '../trainer/heads.js';
import type { Lora } from '../trainer/protocol.js';
import { readTrainingItems } from '../trainer/records.js';
import { train } from '../trainer/train.js';
import { checkInput, onePositional, Values } from '../values.js';
import { checkModelFolder } from './endpoints.js';
import { Faults } from './shared.js';

/** Of the paper, Table 5. A LoRA adapter's B starts at 0 and would move by 2e-7 a step: its rate is our choice. */
const RATE = 2e-7;
const LORA_RATE = 2e-5;
const CLIP = 1;
const SEED = 42;
/** Of PPO, GRPO and their trainers. */
const CLIP_RATIO = 0.2;
/** Of the released GiGPO. */
const GAMMA = 0.95;
/** Input tokens of a micro-batch. */
const MICRO_TOKENS = 8192;

interface Kind {
  summary: string;
  input: string;
  batch: number;
  epochs: number;
  maxLength: number;
  /** Lines of --help. */
  usage: string;
  flags: string[];
  texts: string[];
}

const pairUsage = `  --beta N                   of the pair loss (0.1)
  --nll N                    weight of the chosen sequences' mean NLL (0.01)`;
const dialogueUsage = `  --per-turn                 a sequence of its own for each turn, for templates that change earlier turns
  --truncate                 cut whole turns from the left instead of leaving long dialogues out; never c`;
const dialogueFlags = ['per-turn', 'truncate'];

/** The training commands: train-critic and so on. */
type Training = PairLoss['method'] | 'grpo';

const kinds: Record<Training, Kind> = {
  critic: {
    summary: 'the critic, from pairs of dialogues and the hidden solution',
    input: 'PAIRS',
    ...{ batch: 8, epochs: 4, maxLength: 8192 },
    usage: `  --without-c                the critic does not see the hidden solution c
  --c-template FILE          the text of c, with {ground_truth}
  --normalization RULE       turn-mean (the paper), token-mean or sum
  --as released              c before the begin-of-text token, one token of the header counts, a space before the last
                             end-of-turn token, long sequences are cut on the right, token-mean
${pairUsage}
${dialogueUsage}`,
    flags: ['without-c', ...dialogueFlags],
    texts: ['c-template', 'normalization', 'as', 'beta', 'nll'],
  },
  policy: {
    summary: 'the policy, from pairs of turns',
    input: 'TURN_PAIRS',
    ...{ batch: 8, epochs: 1, maxLength: 16384 },
    usage: `${pairUsage}
  --as released              the prompt's tokens count too; long sequences are cut on the right`,
    flags: [],
    texts: ['beta', 'nll', 'as'],
  },
  sft: {
    summary: 'rejection fine-tuning: cloning of dialogues with a sufficient reward',
    input: 'DIALOGUES',
    ...{ batch: 32, epochs: 4, maxLength: 16384 },
    usage: `  --min-reward N             the least reward of a dialogue (1)
${dialogueUsage}`,
    flags: dialogueFlags,
    texts: ['min-reward'],
  },
  dpo: {
    summary: 'multi-turn DPO, from pairs of dialogues',
    input: 'PAIRS',
    ...{ batch: 8, epochs: 4, maxLength: 16384 },
    usage: `${pairUsage}
${dialogueUsage}`,
    flags: dialogueFlags,
    texts: ['beta', 'nll'],
  },
  grpo: {
    summary: 'the policy by GRPO or GiGPO, from dialogues with rewards, several of each task',
    input: 'DIALOGUES',
    ...{ batch: 32, epochs: 1, maxLength: 16384 },
    usage: `  --method METHOD            grpo: a dialogue's reward over those of its task; gigpo: also each turn's discounted reward
                             over those of the turns in the same state, after the same dialogue (grpo)
  --scale RULE               group divides by the deviation of the group (grpo), none does not (gigpo)
  --gamma N                  of gigpo: discount of the reward for each turn that follows (${GAMMA})
  --step-weight N            of gigpo: weight of the advantage among turns of one state (1)
  --clip-low N               the ratio to the model before the training is clipped from 1 - N (${CLIP_RATIO})
  --clip-high N              to 1 + N (--clip-low)
  --kl N                     weight of the divergence from the model before the training (0)
  --reduction RULE           of the tokens' losses: sequence-mean-token-mean (default), sequence-mean-token-sum or
                             token-mean
${dialogueUsage}`,
    flags: dialogueFlags,
    texts: ['method', 'scale', 'gamma', 'step-weight', 'clip-low', 'clip-high', 'kl', 'reduction'],
  },
};

const commonTexts = [
  ...['model', 'out', 'learning-rate', 'batch', 'epochs', 'steps', 'clip', 'seed', 'max-length', 'save-every'],
  ...['lora', 'lora-alpha', 'lora-targets', 'processes'],
];

const commonUsage = ({
  batch,
  epochs,
  maxLength,
}: Kind) => `  --model FOLDER             a Hugging Face model folder, the reference too
  --out FOLDER               of the run and the trained model; the same command continues an interrupted run
  --learning-rate N          largest of the schedule: 3 % warm-up, cosine to a tenth (${RATE}; ${LORA_RATE} with --lora)
  --batch N, --epochs N      (${batch}, ${epochs})
  --steps N                  at most
  --clip N                   of the gradient norm (${CLIP})
  --max-length N             longer sequences are left out and counted (${maxLength})
  --save-every N             steps between checkpoints (10 minutes)
  --lora R                   train a LoRA adapter of rank R; --lora-alpha N (2 R), --lora-targets LIST (q_proj,v_proj)
  --checkpointing            repeat forward passes of layers in the backward pass: less memory
  --processes N              data parallel ranks on this machine (1)
  --seed N                   of the order and of LoRA (${SEED})`;

const trainCommand = (method: Training): Command => {
  const kind = kinds[method];
  const name = `train-${method}`;
  return {
    name,
    summary: kind.summary,
    usage: `colbench ${name} ${kind.input} --model FOLDER --out FOLDER [options]
  Trains ${kind.summary}.

${commonUsage(kind)}
${kind.usage}
${tokenUsage}
${modelUsage}
`,
    options: {
      ...Object.fromEntries([...commonTexts, ...kind.texts].map((text) => [text, { type: 'string' as const }])),
      ...Object.fromEntries(['checkpointing', ...kind.flags].map((flag) => [flag, { type: 'boolean' as const }])),
      ...tokenOptions,
      ...modelOptionTypes,
    },
    run: (input) => runTraining(method, input),
  };
};

export const commands: Command[] = (['critic', 'policy', 'sft', 'dpo', 'grpo'] as const).map(trainCommand);

async function runTraining(method: Training, input: CommandInput): Promise<Record<string, unknown>> {
  const { progress, signal } = input;
  const kind = kinds[method];
  const values = new Values(`train-${method}`, input.values);
  const file = onePositional(input, `train-${method}`, 'file');
  const [model, out] = [values.required('model'), values.required('out')];
  checkModelFolder(model, '--model');
  checkInput(file, kind.input);
  const { device = 'cpu', dtype, threads, microTokens, python } = modelOptionsOf(values);
  const isReleased = values.text('as') !== undefined && values.choice('as', ['released']) === 'released';
  if (isReleased) values.exclusive('as', 'truncate');
  const faults = new Faults(progress);
  const loss = lossOf(method, values, isReleased);
  const encoding = {
    tokenizer: tokenizerOf(model, values),
    dialogue: {
      privileged: method === 'critic' ? privilegedOf(values, isReleased) : undefined,
      maxLength: values.number('max-length', kind.maxLength, 2, 2 ** 24),
      ...{ truncate: values.flag('truncate'), perTurn: values.flag('per-turn') },
      ...{ headerTokens: method === 'critic' && isReleased ? 1 : 0, released: isReleased },
    },
    onFault: faults.report,
  };
  const { items, ...counts } = isGroupLoss(loss)
    ? await readGroups(file, loss, encoding)
    : await readTrainingItems(file, {
        ...{ ...encoding, method: loss.method },
        minReward: values.number('min-reward', 1, 0, 1, false),
        wholePrompt: method === 'policy' && isReleased,
      });
  faults.checked({});
  const lora = loraOf(values);
  if (isReleased) progress.write(releasedNote(method));
  const summary = await train({
    ...{ loss, items, model, out, lora, device, threads, python, progress, signal },
    dtype: dtype ?? (device === 'cpu' ? 'float32' : 'bfloat16'),
    learningRate: values.number('learning-rate', lora ? LORA_RATE : RATE, 0, 1, false),
    batch: values.number('batch', kind.batch, 1, 2 ** 24),
    epochs: values.number('epochs', kind.epochs, 0, 1e6, false),
    steps: values.number('steps', undefined, 1, 2 ** 31),
    clip: values.number('clip', CLIP, 1e-12, 1e12, false),
    seed: values.number('seed', SEED, 0, 2 ** 32 - 1),
    microTokens: microTokens ?? MICRO_TOKENS,
    saveEvery: values.number('save-every', undefined, 1, 2 ** 31),
    processes: values.number('processes', 1, 1, 1024),
    checkpointing: values.flag('checkpointing'),
  });
  return { out, items: items.length, ...counts, ...summary };
}

function privilegedOf(values: Values, isReleased: boolean): Privileged | undefined {
  values.exclusive('without-c', 'c-template');
  if (values.flag('without-c')) return undefined;
  const base = isReleased ? releasedPrivileged : ownPrivileged;
  const template = privilegedFile(values);
  return template === undefined ? base : { ...base, template };
}

function lossOf(method: Training, values: Values, isReleased: boolean): LossOptions {
  if (method === 'grpo') return groupLossOf(values);
  const normalization =
    isReleased && values.text('normalization') === undefined
      ? 'token-mean'
      : values.choice('normalization', ['turn-mean', 'token-mean', 'sum']);
  return {
    ...{ method, normalization: method === 'critic' ? normalization : 'sum' },
    beta: values.number('beta', 0.1, 1e-9, 1e9, false),
    nllCoef: values.number('nll', 0.01, 0, 1e9, false),
  };
}

function groupLossOf(values: Values): GroupLoss {
  const method = values.choice('method', ['grpo', 'gigpo']);
  const isGigpo = method === 'gigpo';
  for (const name of ['gamma', 'step-weight']) {
    if (!isGigpo && values.text(name) !== undefined) throw new UsageError(`--${name} needs --method gigpo`);
  }
  const clipLow = values.number('clip-low', CLIP_RATIO, 0, 1, false);
  return {
    ...{ method, scale: values.choice('scale', isGigpo ? ['none', 'group'] : ['group', 'none']) },
    gamma: isGigpo ? values.number('gamma', GAMMA, 0, 1, false) : null,
    stepCoef: isGigpo ? values.number('step-weight', 1, 0, 1e9, false) : null,
    ...{ clipLow, clipHigh: values.number('clip-high', clipLow, 0, 1e9, false) },
    reduction: values.choice('reduction', ['sequence-mean-token-mean', 'sequence-mean-token-sum', 'token-mean']),
    klCoef: values.number('kl', 0, 0, 1e9, false),
  };
}

function releasedNote(method: Training): string {
  const changed =
    method === 'critic'
      ? [
          'c stands before the begin-of-text token',
          "the header's last token counts",
          'a space stands before the last end-of-turn token',
          'long sequences are cut on the right',
          'normalization token-mean',
        ]
      : ["the prompt's tokens count", 'long sequences are cut on the right'];
  return `--as released: ${changed.join('; ')}\n`;
}

function loraOf(values: Values): Lora | undefined {
  const r = values.number('lora', undefined, 1, 4096);
  if (r === undefined) {
    for (const name of ['lora-alpha', 'lora-targets']) {
      if (values.text(name) !== undefined) throw new UsageError(`--${name} needs --lora`);
    }
    return undefined;
  }
  const targets = (values.text('lora-targets') ?? 'q_proj,v_proj').split(',').map((target) => target.trim());
  return { r, alpha: values.number('lora-alpha', 2 * r, 1e-9, 1e9, false), targets };
}
