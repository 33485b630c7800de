/** What every program has in common: its options, its seed, its progress in text and its learning curve as SVG. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { picture, polyline, scale, text, ticks, xAxis, yAxis } from '../../../scripts/svg.js';
import { random } from '../../colbench-mini/random.js';

const [WIDTH, HEIGHT] = [640, 340];
const [LEFT, RIGHT, TOP, BOTTOM] = [64, 610, 56, 282];
/** The generator has 32 bits: a larger seed would repeat the numbers of a smaller one. */
const SEEDS = 2 ** 32;
/** A program prints about so many lines of progress. */
const LINES = 10;

/**
 * Reads --seed and --out.
 *
 * @param {string} url import.meta.url of the program
 * @param {{ title: string, measure: string, steps: number, step?: string }} about the chart's title; the name of the measure,
 *   where more is better; the number of steps, and what a step is called
 */
export function start(url, { title, measure, steps, step = 'iteration' }) {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: '1' },
      out: { type: 'string', default: fileURLToPath(new URL('../out', import.meta.url)) },
    },
  });
  const seed = Number(values.seed);
  if (!/^\d+$/.test(values.seed) || seed >= SEEDS) {
    throw new RangeError(`Expected a whole number from 0 to ${SEEDS - 1} for --seed but received ${values.seed}`);
  }
  mkdirSync(values.out, { recursive: true });
  const name = basename(fileURLToPath(url), '.js');
  const points = [];
  return {
    rand: random(seed),
    steps,
    /** Records the measure after a step. */
    record(at, value) {
      points.push([at, value]);
      if (at % Math.ceil(steps / LINES) === 0) console.log(`${step} ${at}  ${measure} ${value.toFixed(3)}`);
    },
    /** Prints the final figure, and writes NAME-seed-N.svg. */
    finish(figure) {
      const file = join(values.out, `${name}-seed-${seed}.svg`);
      writeFileSync(file, curve(points, `${title}, seed ${seed}`, measure, step));
      console.log(`figure ${figure.toFixed(3)}, curve in ${file}`);
    },
  };
}

/** A step between ticks: 1, 2 or 5 times a power of ten, so that there are at most six. */
function tickStep(range) {
  const power = 10 ** Math.floor(Math.log10(range / 5));
  return [1, 2, 5, 10].map((factor) => factor * power).find((size) => range / size <= 6);
}

function curve(points, title, measure, step) {
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const sizeY = tickStep(Math.max(...ys) - Math.min(...ys) || 1);
  const low = Math.floor(Math.min(...ys) / sizeY) * sizeY;
  const high = Math.max(low + sizeY, Math.ceil(Math.max(...ys) / sizeY) * sizeY);
  const last = Math.max(...xs);
  const [x, y] = [scale(0, last, LEFT, RIGHT), scale(low, high, BOTTOM, TOP)];
  const digits = Math.max(0, -Math.floor(Math.log10(sizeY)));
  const whole = Math.max(1, tickStep(last));
  return picture(WIDTH, HEIGHT, title, [
    text(LEFT, 26, title, { size: 15, weight: 600 }),
    text(LEFT, 44, measure),
    ...yAxis(y, ticks(low, high, sizeY), LEFT, RIGHT, (value) => value.toFixed(digits)),
    ...xAxis(x, ticks(0, Math.floor(last / whole) * whole, whole), TOP, BOTTOM, String),
    polyline(
      points.map(([at, value]) => [x(at), y(value)]),
      '#1768ac',
    ),
    text((LEFT + RIGHT) / 2, BOTTOM + 38, step, { anchor: 'middle' }),
  ]);
}
