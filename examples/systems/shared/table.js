/** The models of the programs: tables with one row per context, trained by gradient descent or Adam. */
import { tokenLogps, tokenLogpsBackward, useBackend } from 'sweet-rl';

// The portable kernels, so that a seed has the same figure on all machines.
useBackend('portable');

const [BETA1, BETA2, EPSILON] = [0.9, 0.999, 1e-8];
const CAPACITY = 512; // contexts

/** Numbers per context: values, Q, logits. Rows start at 0 and are made when their context is first asked for. */
export class Table {
  #rows;
  #adam;

  /**
   * @param {number} width numbers in a row
   * @param {{ learningRate?: number, adam?: boolean, like?: Table }} [options] `like`: the table whose contexts have the same rows
   */
  constructor(width, { learningRate = 1, adam = false, like } = {}) {
    this.#rows = like === undefined ? new Map() : like.#rows;
    this.width = width;
    this.learningRate = learningRate;
    this.data = new Float32Array(CAPACITY * width);
    const moments = () => new Float64Array(CAPACITY * width);
    if (adam) this.#adam = { mean: moments(), square: moments(), steps: moments() };
  }

  /** The row of a context. @param {string} context */
  row(context) {
    const known = this.#rows.get(context);
    if (known !== undefined) return known;
    const row = this.#rows.size;
    if (row === CAPACITY) throw new RangeError(`Expected at most ${CAPACITY} contexts`);
    this.#rows.set(context, row);
    return row;
  }

  /** The numbers of a context, a view. @param {string} context */
  at(context) {
    const row = this.row(context);
    return this.data.subarray(row * this.width, (row + 1) * this.width);
  }

  /** [N, width] copies of rows. @param {ArrayLike<number>} rows */
  gather(rows) {
    const gathered = new Float32Array(rows.length * this.width);
    for (let i = 0; i < rows.length; i++) {
      const from = rows[i] * this.width;
      gathered.set(this.data.subarray(from, from + this.width), i * this.width);
    }
    return gathered;
  }

  /** A step along the gradients [N, width] of rows: plain gradient descent, or Adam, which moves the given rows alone. */
  update(rows, gradients) {
    const { width, learningRate, data } = this;
    const total = new Map(Array.from(rows, (row) => [row, new Float64Array(width)]));
    for (let i = 0; i < rows.length; i++) {
      const sum = total.get(rows[i]);
      for (let j = 0; j < width; j++) sum[j] += gradients[i * width + j];
    }
    for (const [row, sum] of total) {
      for (let j = 0; j < width; j++) data[row * width + j] -= learningRate * this.#direction(row * width + j, sum[j]);
    }
  }

  #direction(at, gradient) {
    if (this.#adam === undefined) return gradient;
    const { mean, square, steps } = this.#adam;
    steps[at]++;
    mean[at] += (1 - BETA1) * (gradient - mean[at]);
    square[at] += (1 - BETA2) * (gradient ** 2 - square[at]);
    return mean[at] / (1 - BETA1 ** steps[at]) / (Math.sqrt(square[at] / (1 - BETA2 ** steps[at])) + EPSILON);
  }

  /** Starts all rows from normal numbers of a size, so that two critics differ. @returns {this} */
  randomize(rand, size) {
    for (let i = 0; i < this.data.length; i++) this.data[i] = size * rand.normal();
    return this;
  }

  /** This table moves to another one by the share tau (Polyak). @param {Table} other @param {number} tau */
  follow(other, tau) {
    for (let i = 0; i < this.data.length; i++) this.data[i] += tau * (other.data[i] - this.data[i]);
  }
}

/** A language model without a network: the softmax of a row of logits for each context. */
export class Policy extends Table {
  /** The distribution after a context. @param {string} context */
  probabilities(context) {
    const logits = this.at(context);
    const max = Math.max(...logits);
    const exps = Array.from(logits, (logit) => Math.exp(logit - max));
    const sum = exps.reduce((a, b) => a + b);
    return exps.map((exp) => exp / sum);
  }

  sample(context, rand) {
    return rand.weighted(this.probabilities(context));
  }

  greedy(context) {
    const logits = this.at(context);
    return logits.indexOf(Math.max(...logits));
  }

  /** The log-probs of a batch's tokens, and what their gradient needs. @param {{ rows: number[], labels: number[] }} batch */
  forward({ rows, labels }) {
    const head = { logits: this.gather(rows), vocabSize: this.width, labels: Int32Array.from(labels) };
    return { rows, head, ...tokenLogps(head) };
  }

  /** [N, width], the gradient at the rows of `forward` from the gradient at the log-probs. */
  gradient({ head, lse }, gradLogps) {
    return tokenLogpsBackward({ ...head, lse, gradLogps }).gradLogits;
  }

  /** A step along the gradient at the log-probs of `forward`. */
  learn(forward, gradLogps) {
    this.update(forward.rows, this.gradient(forward, gradLogps));
  }
}

/** The tokens of trajectories, packed without padding: `row` is the table's row of a token's context. */
export class Batch {
  rows = [];
  labels = [];
  #turns = [0];
  #trajectories = [0];

  add(row, label) {
    this.rows.push(row);
    this.labels.push(label);
  }

  endTurn() {
    this.#turns.push(this.rows.length);
  }

  endTrajectory() {
    this.#trajectories.push(this.#turns.length - 1);
  }

  get turnOffsets() {
    return Int32Array.from(this.#turns);
  }

  get trajectoryOffsets() {
    return Int32Array.from(this.#trajectories);
  }
}
