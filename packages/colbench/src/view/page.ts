/** The page of a run: curves, dialogues, candidates with their scores, pairs. */

import { pageOf } from '../frontend/conversation.js';
import { curve } from './curves.js';
import { type Html, html } from './html.js';
import { finalPage, type Pictures, picture, shownCandidates, sideBySide, truthOf } from './pictures.js';

type Fields = Record<string, unknown>;

/** A file of the run, with the records that are shown. */
export interface Shown {
  name: string;
  records: Fields[];
  /** All records of the file. */
  total: number;
}

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const text = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value));
const number = (value: unknown) => (typeof value === 'number' ? String(Number(value.toPrecision(4))) : '');

/** @param pictures of the pages in messages of a frontend task */
function message(each: unknown, pictures?: Pictures): Html {
  if (!isFields(each)) return html``;
  const content = text(each.content);
  const page = pictures === undefined ? undefined : pageOf(content);
  const shown =
    page === undefined || !pictures?.has(page)
      ? html`<pre>${content}</pre>`
      : html`<pre>${content.replace(page, '[page]')}</pre>${picture(page, pictures)}`;
  return html`<div class="message"><b>${text(each.role)}</b>${shown}</div>`;
}

const messages = (value: unknown, pictures?: Pictures): Html =>
  Array.isArray(value)
    ? html`${value.map((each) => message(each, pictures))}`
    : html`<pre>${value === undefined ? '' : text(value)}</pre>`;

function frontendDialogue(record: Fields, truth: string, pictures: Pictures): Html {
  const task = record.task as Fields;
  const problems = Array.isArray(record.problems) ? record.problems.map((each) => html`<li>${text(each)}</li>`) : [];
  return html`<details><summary>reward ${number(record.reward)}: ${text(task.problem_description ?? '')}</summary>
${sideBySide(
  [
    ['answer', finalPage(record)],
    ['reference', truth],
  ],
  pictures,
)}<ul>${problems}</ul>
<details><summary>dialogue</summary>${messages(record.dialogue_history, pictures)}</details></details>`;
}

function dialogue(record: Fields, pictures: Pictures): Html {
  const truth = truthOf(record);
  if (truth !== undefined) return frontendDialogue(record, truth, pictures);
  const task = isFields(record.task) ? record.task : {};
  const calls = Array.isArray(record.calls) ? record.calls.filter(isFields) : [];
  return html`<details><summary>reward ${number(record.reward)}: ${text(task.problem_description ?? '')}</summary>
<details><summary>hidden function</summary><pre>${text(task.ground_truth ?? '')}</pre></details>
${messages(record.dialogue_history)}
<table>${calls.map((call) => html`<tr><td>${text(call.verdict)}</td><td><code>${text(call.call)}</code></td><td>${text(call.told)}</td><td>${text(call.expected)}</td></tr>`)}</table></details>`;
}

function candidates(record: Fields, pictures: Pictures): Html {
  const scores = Array.isArray(record.scores) ? (record.scores as number[]) : [];
  const all = record.candidates as unknown[];
  const order = all.map((_, i) => i).sort((a, b) => (scores[b] ?? 0) - (scores[a] ?? 0));
  const truth = truthOf(record);
  const pages = shownCandidates(record).map((i) => [`score ${number(scores[i])}`, pageOf(text(all[i]))] as const);
  const compared = truth === undefined ? html`` : sideBySide([...pages, ['reference', truth]], pictures);
  return html`<details><summary>state ${text(record.id ?? '')}: ${all.length} candidates, scores ${number(Math.min(...scores))} to ${number(Math.max(...scores))}</summary>
<details><summary>prompt</summary>${messages(record.input)}</details>${compared}
<table>${order.map((i) => html`<tr><td>${number(scores[i])}</td><td><pre>${text(all[i])}</pre></td></tr>`)}</table></details>`;
}

function pair(record: Fields, pictures: Pictures): Html {
  const truth = truthOf(record);
  const pageOfSide = (value: unknown) => (isFields(value) ? finalPage(value) : pageOf(text(value)));
  const compared =
    truth === undefined
      ? html``
      : sideBySide(
          [
            ['chosen', pageOfSide(record.chosen)],
            ['rejected', pageOfSide(record.rejected)],
            ['reference', truth],
          ],
          pictures,
        );
  const side = (value: unknown) =>
    isFields(value)
      ? html`<p>reward ${number(value.reward)}</p>${messages(value.dialogue_history)}`
      : html`<pre>${text(value)}</pre>`;
  const first = isFields(record.task) ? text(record.task.problem_description) : '';
  const summary = first === '' ? text(record.chosen).slice(0, 80) : first;
  return html`<details><summary>${summary}</summary>${record.input === undefined ? html`` : html`<details><summary>prompt</summary>${messages(record.input)}</details>`}${compared}
<table><tr><th>chosen</th><th>rejected</th></tr><tr><td>${side(record.chosen)}</td><td>${side(record.rejected)}</td></tr></table></details>`;
}

/** A curve of each number in the lines of metrics.jsonl. */
function curves(records: readonly Fields[]): Html {
  const names = [...new Set(records.flatMap((record) => Object.keys(record)))];
  const numeric = names.filter((name) => name !== 'step' && records.some((record) => typeof record[name] === 'number'));
  const valuesOf = (name: string) =>
    records.map((record) => (typeof record[name] === 'number' ? record[name] : Number.NaN));
  return html`<div class="curves">${numeric.map((name) => curve(name, valuesOf(name)))}</div>`;
}

function record(fields: Fields, pictures: Pictures): Html {
  if (Array.isArray(fields.candidates)) return candidates(fields, pictures);
  if ('chosen' in fields && 'rejected' in fields) return pair(fields, pictures);
  if (Array.isArray(fields.dialogue_history)) return dialogue(fields, pictures);
  return html`<details><summary>${text(fields.problem_description ?? 'record')}</summary><pre>${JSON.stringify(fields, null, 1)}</pre></details>`;
}

const section = ({ name, records, total }: Shown, pictures: Pictures): Html =>
  /metrics\.jsonl$/.test(name)
    ? html`<h2>${name}</h2>${curves(records)}`
    : html`<h2>${name}</h2><p>${records.length} of ${total} records</p>${records.map((each) => record(each, pictures))}`;

/** A table of the rows of a run. */
function table(rows: readonly Fields[]): Html {
  const keys = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return html`<table><tr>${keys.map((key) => html`<th>${key}</th>`)}</tr>${rows.map(
    (row) =>
      html`<tr>${keys.map((key) => html`<td>${typeof row[key] === 'number' ? number(row[key]) : text(row[key] ?? '')}</td>`)}</tr>`,
  )}</table>`;
}

/**
 * The whole page. No script, no file besides it; every text of a record is escaped.
 * @param pictures of the pages of frontend tasks; pages without one are shown as text
 */
export function page(
  title: string,
  rows: readonly Fields[],
  files: readonly Shown[],
  pictures: Pictures = new Map(),
): string {
  return html`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>${title}</title>
<style>
body { font: 15px/1.5 sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em }
pre { white-space: pre-wrap; margin: 0 } details { margin: .3em 0 .3em 1em } summary { cursor: pointer }
table { border-collapse: collapse } td, th { border: 1px solid #ccc; padding: .2em .6em; vertical-align: top; text-align: left }
.message { margin: .4em 0; border-left: 3px solid #ccc; padding-left: .8em } svg { font: 11px sans-serif } polyline { fill: none; stroke: #2563eb }
img { max-width: 100%; border: 1px solid #ccc } .pages { table-layout: fixed; width: 100% } .pages pre { max-height: 20em; overflow: auto }
</style>
<h1>${title}</h1>
${rows.length > 0 ? table(rows) : html``}
${files.map((file) => section(file, pictures))}
</html>
`.text;
}
