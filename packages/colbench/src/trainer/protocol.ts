/** The messages between Node and trainer.py: JSON lines, one request at a time. */

export const PROTOCOL = 1;

/** A low-rank adapter: y = W x + (alpha / r) B A x in the modules whose names end in a target. */
export interface Lora {
  r: number;
  alpha: number;
  /** Such as 'q_proj' and 'v_proj'. */
  targets: string[];
}

export interface Hello {
  /** A Hugging Face model folder, or a LoRA adapter folder. */
  model: string;
  /** 'cpu', 'cuda' (the device of LOCAL_RANK) or 'cuda:N'. */
  device: string;
  /** Of the computation; with 'bfloat16' the weights that are trained stay float32. */
  dtype: 'float32' | 'bfloat16';
  threads: number;
  seed: number;
  lora?: Lora | undefined;
  /** Forward passes of layers are repeated in the backward pass instead of storing activations. */
  checkpointing: boolean;
  /** No training: no gradients, no float32 copy of 16-bit weights. */
  frozen?: boolean | undefined;
}

/** What the trainer says of the model. */
export interface ModelDescription {
  architecture: string;
  /** Hidden size. */
  H: number;
  /** Vocabulary size. */
  V: number;
  layers: number;
  /** The embedding is the head's weight too. */
  tied: boolean;
  headBias: boolean;
  parameters: number;
  /** Parameters that `step` changes. */
  trained: number;
  maxPositions: number;
  lora: Lora | null;
  torch: string;
  /** Bytes. */
  freeMemory: number;
}

export interface WrittenFile {
  name: string;
  bytes: number;
  sha256: string;
}

/** One candidate of a sampling request. */
export interface CandidateAnswer {
  /** prompt * n + candidate of the prompt. */
  candidate: number;
  ids: number[];
  /** At temperature 1. */
  logps: number[];
  /** Under the distribution that was sampled from. */
  sampledLogps: number[];
  stop: 'stop' | 'length';
}

/** The fields of each request and of its answer. */
export interface Requests {
  hello: [Hello & { protocol: typeof PROTOCOL }, ModelDescription];
  /** The names of shared memory that Node made; the trainer maps it and removes the names. */
  buffers: [
    {
      maxRows: number;
      hidden: string;
      weight: string;
      gradHidden?: string | undefined;
      gradWeight?: string | undefined;
    },
    Record<string, unknown>,
  ];
  /** `rows` are indices into `ids`, whose hidden states are written to the buffer `hidden` in this order. */
  forward: [
    {
      ids: number[];
      sequenceOffsets: number[];
      /** The earlier sequence that each one continues, -1 for none; not with `train`. */
      parents?: number[] | undefined;
      rows: number[];
      train: boolean;
      adapter?: boolean | undefined;
    },
    object,
  ];
  backward: [object, object];
  /** `sums` are added over the ranks. */
  step: [
    { learningRate: number; clip?: number | undefined; sums: number[] },
    { gradNorm: number; parameterNorm: number; sums: number[] },
  ];
  sample: [
    {
      prompts: number[][];
      n: number;
      temperature: number;
      topP: number;
      maxTokens: number;
      stop: number[];
      /** n a prompt, integers below 2^53. */
      seeds: number[];
    },
    CandidateAnswer | { done: true },
  ];
  save: [{ folder: string; what: 'weights' | 'merged' | 'optimizer' | 'gradients' }, { files: WrittenFile[] }];
  load: [{ folder: string; what: 'weights' | 'optimizer' }, object];
  end: [object, object];
}
