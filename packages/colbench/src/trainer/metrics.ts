/** metrics.jsonl: one line a step under the names of TRL, without times, so that a resumed run writes the same bytes. */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { writeWhole } from '../files.js';
import type { Method, Sums } from './heads.js';
import type { StepResult } from './steps.js';

export type Metrics = Record<string, number>;

/** @param step from 1, as TRL's global step */
export function stepMetrics(
  method: Method,
  { sums, gradNorm, parameterNorm }: StepResult,
  at: { step: number; epoch: number; learningRate: number },
): Metrics {
  const { loss, tokens } = sums;
  const { step, epoch, learningRate } = at;
  return {
    ...{ step, epoch, loss, ...ofMethod(method, sums), learning_rate: learningRate },
    ...{ grad_norm: gradNorm, param_norm: parameterNorm, num_tokens: tokens },
  };
}

function ofMethod(method: Method, sums: Sums): Metrics {
  const mean = (total: number) => total / sums.pairs;
  if (method === 'sft') return {};
  if (method === 'grpo' || method === 'gigpo') {
    return {
      reward: mean(sums.rewards),
      'clip_ratio/region_mean': sums.clipped / sums.rows,
      approx_kl: sums.kl / sums.rows,
      'completions/mean_length': mean(sums.rows),
    };
  }
  return {
    'rewards/chosen': mean(sums.chosenRewards),
    'rewards/rejected': mean(sums.rejectedRewards),
    'rewards/accuracies': mean(sums.accuracies),
    'rewards/margins': mean(sums.margins),
    'logps/chosen': mean(sums.chosenLogps),
    'logps/rejected': mean(sums.rejectedLogps),
  };
}

/** The lines of the file. */
export class MetricsFile {
  constructor(readonly path: string) {}

  /** Removes the lines after a step: those of steps that the checkpoint has not. */
  truncate(step: number): void {
    if (!existsSync(this.path)) return;
    const kept = this.read().filter((metrics) => (metrics.step as number) <= step);
    writeWhole(this.path, kept.map((metrics) => `${JSON.stringify(metrics)}\n`).join(''));
  }

  append(metrics: Metrics): void {
    appendFileSync(this.path, `${JSON.stringify(metrics)}\n`);
  }

  /** A last line that a kill has cut is left out. */
  read(): Metrics[] {
    if (!existsSync(this.path)) return [];
    const lines = readFileSync(this.path, 'utf8').split('\n');
    lines.pop();
    return lines.map((line) => JSON.parse(line) as Metrics);
  }
}

/** Loss, reward or margin and accuracy, gradient norm and rate over the steps, as SVG. */
export function curves(rows: readonly Metrics[]): string {
  const names = ['loss', 'reward', 'rewards/margins', 'rewards/accuracies', 'grad_norm', 'learning_rate'];
  const shown = names.filter((name) => rows.some((row) => Number.isFinite(row[name])));
  const [width, height] = [640, 120];
  const plots = shown.map((name, i) => {
    const values = rows.map((row) => row[name] as number);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const x = (k: number) => 60 + ((width - 80) * k) / Math.max(1, values.length - 1);
    const y = (value: number) => 24 + (height - 44) * (1 - (value - low) / (high - low || 1));
    const points = values.map((value, k) => `${x(k).toFixed(1)},${y(value).toFixed(1)}`).join(' ');
    const label = (value: number, at: number) => `<text x="4" y="${at}">${Number(value.toPrecision(3))}</text>`;
    return `<g transform="translate(0 ${i * height})"><text x="60" y="14" font-weight="bold">${name}</text>
${label(high, 28)}${label(low, height - 16)}<polyline points="${points}" fill="none" stroke="#2f6f9f" stroke-width="1.5"/></g>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${shown.length * height}" font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="white"/>
${plots.join('\n')}
</svg>
`;
}
