/** Which pages of the records of frontend tasks the page of a run shows, and how. */
import { type FrontendAnswer, isAgent, type Message } from '../benchmark/records.js';
import { answerPage, pageOf } from '../frontend/conversation.js';
import type { RenderFailure, Rendering } from '../frontend/types.js';
import { type Html, html } from './html.js';

type Fields = Record<string, unknown>;

/** The pictures of pages, by their HTML. */
export type Pictures = ReadonlyMap<string, Pick<Rendering, 'png'> | Pick<RenderFailure, 'failure'>>;

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The page of a frontend task; undefined for other records. */
export function truthOf({ task }: Fields): string | undefined {
  if (!isFields(task) || task.test_cases !== undefined) return undefined;
  return typeof task.ground_truth === 'string' ? task.ground_truth : undefined;
}

const historyOf = (record: Fields): Message[] =>
  Array.isArray(record.dialogue_history)
    ? record.dialogue_history.filter((each) => isFields(each) && typeof each.content === 'string')
    : [];

/** The page of a dialogue that was evaluated. */
export const finalPage = (record: Fields): string | undefined =>
  answerPage({
    answer: typeof record.answer === 'string' ? record.answer : '',
    dialogue_history: historyOf(record),
  } as FrontendAnswer);

/** Indices of the candidates of the best and of the worst score, whose pages are shown. */
export function shownCandidates({ candidates, scores }: Fields): number[] {
  if (!Array.isArray(candidates) || !Array.isArray(scores) || scores.length === 0) return [0];
  return [...new Set([scores.indexOf(Math.max(...scores)), scores.indexOf(Math.min(...scores))])];
}

/** The pages of a record that are shown as pictures. */
export function pagesOf(record: Fields): string[] {
  const truth = truthOf(record);
  if (truth === undefined) return [];
  const sides = [record.chosen, record.rejected].filter(isFields).map(finalPage);
  const turns = historyOf(record).map((message) => (isAgent(message) ? pageOf(message.content) : undefined));
  const { candidates } = record;
  const ranked = Array.isArray(candidates) ? shownCandidates(record).map((i) => pageOf(String(candidates[i]))) : [];
  return [truth, finalPage(record), ...sides, ...turns, ...ranked].filter((page) => page !== undefined);
}

/** A page as a picture. */
export function picture(page: string | undefined, pictures: Pictures): Html {
  if (page === undefined) return html`<p>no page</p>`;
  const found = pictures.get(page);
  if (found === undefined) return html`<pre>${page}</pre>`;
  if ('failure' in found) return html`<p>no picture: ${found.failure}</p><pre>${page}</pre>`;
  return html`<img alt="the page" src="data:image/png;base64,${Buffer.from(found.png).toString('base64')}">`;
}

/** Pages side by side, each under its title. */
export const sideBySide = (pages: readonly (readonly [string, string | undefined])[], pictures: Pictures): Html =>
  html`<table class="pages"><tr>${pages.map(([title]) => html`<th>${title}</th>`)}</tr><tr>${pages.map(
    ([, page]) => html`<td>${picture(page, pictures)}</td>`,
  )}</tr></table>`;
