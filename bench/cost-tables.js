// The tables of costs in the guide, from the results of a run: the time of what is compared with, ratios and goals.
import { readFileSync, writeFileSync } from 'node:fs';

const PAGES = ['heads.md', 'distillation.md'].map((name) => new URL(`../docs/guide/${name}`, import.meta.url));

/** What is between such marks is written here. The first one names the functions that the table is about. */
const TABLE = /(<!-- costs of ([\w, ]+) -->\n).*?(<!-- end of costs -->)/gs;

export function writeCostTables({ machine, results }) {
  for (const page of PAGES) {
    const text = readFileSync(page, 'utf8').replace(TABLE, (_, start, functions, end) => {
      const shown = results.filter(({ op, ...row }) => isCost(row) && functions.split(', ').includes(op.split(' ')[0]));
      if (shown.length === 0) throw new Error(`No costs of ${functions} were measured; --filter=costs measures them`);
      return `${start}\n${table(shown)}\n\n${caption(shown, machine)}\n\n${end}`;
    });
    writeFileSync(page, text);
  }
}

const isCost = ({ base, ratio }) => base === true || ratio !== undefined;
const isMissed = ({ ratio, goal }) => goal !== undefined && Number(ratio.toFixed(2)) > goal;

const shapeOf = ({ rows, width, vocab, dtype }) => `${[rows, width, vocab].filter(Boolean).join(' × ')} ${dtype}`;

function table(results) {
  const shapes = [...new Set(results.map(shapeOf))];
  const lines = new Map(); // by function and option, the cells of all shapes
  for (const result of results) {
    const key = `${result.op}, ${result.name}`;
    if (!lines.has(key)) lines.set(key, [result.op, result.name, ...shapes.map(() => '')]);
    lines.get(key)[2 + shapes.indexOf(shapeOf(result))] = cell(result);
  }
  const cells = [['function', 'option', ...shapes], ...lines.values()];
  const widths = cells[0].map((_, column) => Math.max(...cells.map((line) => line[column].length)));
  const row = (line) => `| ${line.map((text, column) => text.padEnd(widths[column])).join(' | ')} |`;
  const rule = `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`;
  return [row(cells[0]), rule, ...cells.slice(1).map(row)].join('\n');
}

function cell({ ms, ratio, goal }) {
  if (ratio === undefined) return ms < 0.1 ? `${(ms * 1e3).toFixed(0)} µs` : `${ms.toPrecision(3)} ms`;
  return goal === undefined ? ratio.toFixed(2) : `${ratio.toFixed(2)} (${goal.toFixed(2)})`;
}

/** Where and when the figures were measured, and in words which goals are not met. */
function caption(results, { cpu, cores, node, date }) {
  const [{ backend, threads }] = results;
  const lines = [`Measured on ${cores} cores of ${cpu} (${backend}, ${threads} threads, Node ${node}, ${date}).`];
  const missed = results.filter(isMissed);
  lines.push(missed.length === 0 ? 'All goals are met.' : 'These goals are not met:\n');
  for (const result of missed) {
    const { op, name, ratio, goal } = result;
    lines.push(`- ${op}, ${name}, ${shapeOf(result)}: ${ratio.toFixed(2)}, the goal is ${goal.toFixed(2)}`);
  }
  return lines.join('\n');
}
