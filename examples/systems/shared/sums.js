/**
 * Sums in steps: three digits 0 ... 3 are added modulo 4, and each partial sum is written down. A step sees the sum so far and the
 * next digit. An answer is right if all of its steps are.
 */
import { Batch } from './table.js';

export const BASE = 4;
export const LENGTH = 3;

/** @returns {number[]} digits */
export const question = (rand) => Array.from({ length: LENGTH }, () => rand.int(BASE));

/** What step i sees. @param {number[]} digits @param {number[]} sums the steps so far */
export const contextOf = (digits, sums) => `${sums.at(-1) ?? 'start'} + ${digits[sums.length]}`;

/** The rest of an answer. @param {(context: string) => number} say @param {number[]} [sums] the steps so far */
export function answer(digits, say, sums = []) {
  const all = [...sums];
  while (all.length < LENGTH) all.push(say(contextOf(digits, all)));
  return all;
}

/** 1 for an answer whose steps are all right. @param {number[]} digits @param {number[]} sums */
export function grade(digits, sums) {
  let sum = 0;
  return sums.every((step, i) => {
    sum = (sum + digits[i]) % BASE;
    return step === sum;
  })
    ? 1
    : 0;
}

/** Answers as a batch, where each step is a turn of one token. @param {{ digits: number[], sums: number[] }[]} answers */
export function pack(answers, policy) {
  const batch = new Batch();
  for (const { digits, sums } of answers) {
    sums.forEach((step, i) => {
      batch.add(policy.row(contextOf(digits, sums.slice(0, i))), step);
      batch.endTurn();
    });
    batch.endTrajectory();
  }
  return batch;
}

/** The share of all questions that the policy answers right by its most likely steps. */
export function accuracy(policy) {
  let right = 0;
  for (let q = 0; q < BASE ** LENGTH; q++) {
    const digits = Array.from({ length: LENGTH }, (_, i) => Math.floor(q / BASE ** i) % BASE);
    right += grade(
      digits,
      answer(digits, (context) => policy.greedy(context)),
    );
  }
  return right / BASE ** LENGTH;
}
