/** A model that says what a test wants. */
import type { Model, OpenModel, SampleOptions, Sequence } from '../../src/model.ts';

export interface Stub {
  /** The ids of a candidate after a prompt, and why it ended. */
  sample?: (
    prompt: Int32Array,
    candidate: number,
    options: SampleOptions,
  ) => { ids: number[]; stop: 'stop' | 'length' };
  /** The log-probs of a sequence's scored tokens. */
  logps?: (sequence: Sequence, folder: string) => number[];
}

/** Opens stubs, and counts what is open and what was asked. */
export function stubModels({ sample, logps }: Stub) {
  const state = { open: 0, opened: [] as string[], batches: [] as number[], sequences: [] as Sequence[] };
  const openModel: OpenModel = async (folder): Promise<Model> => {
    state.open += 1;
    state.opened.push(folder);
    return {
      async *sample(prompts, options) {
        state.batches.push(prompts.length);
        for (const [prompt, ids] of prompts.entries()) {
          for (let candidate = 0; candidate < options.n; candidate++) {
            const made = sample!(ids, candidate, options);
            const stub = Float32Array.from(made.ids, () => -0.5);
            yield { prompt, candidate, ids: Int32Array.from(made.ids), logps: stub, stop: made.stop };
          }
        }
      },
      async *logps(sequences) {
        for (const sequence of sequences) {
          state.sequences.push(sequence);
          yield Float32Array.from(logps!(sequence, folder));
        }
      },
      close: async () => {
        state.open -= 1;
      },
    };
  };
  return { openModel, state };
}
