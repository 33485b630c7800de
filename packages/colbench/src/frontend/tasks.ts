/** Synthetic frontend tasks: pages of our own from templates, palettes, businesses and sizes. */
import type { FrontendTask } from '../benchmark/records.js';
import { uniforms } from '../trainer/batches.js';
import { type Html, html as markup } from '../view/html.js';

export interface SyntheticTask extends FrontendTask {
  template: string;
  /** The templates of the two parts differ. */
  split: 'train' | 'test';
}

interface Business {
  /** With its article, as the description has it. */
  kind: string;
  names: readonly string[];
  things: readonly string[];
  promise: string;
}

const businesses: readonly Business[] = [
  {
    kind: 'a bakery',
    names: ['Crumb & Co', 'Golden Loaf'],
    things: ['Sourdough', 'Rye bread', 'Brioche', 'Baguette', 'Cinnamon roll', 'Focaccia'],
    promise: 'Baked before sunrise, every day.',
  },
  {
    kind: 'a bicycle shop',
    names: ['Spoke House', 'Two Wheels'],
    things: ['City bikes', 'Touring', 'Repairs', 'Cargo bikes', 'Helmets', 'Rentals'],
    promise: 'We keep you rolling in any weather.',
  },
  {
    kind: 'a language school',
    names: ['Lingua Lane', 'Open Tongue'],
    things: ['Spanish', 'Japanese', 'German', 'Arabic', 'French', 'Finnish'],
    promise: 'Small classes and patient teachers.',
  },
  {
    kind: 'a garden centre',
    names: ['Green Corner', 'Fern & Field'],
    things: ['Roses', 'Herbs', 'Fruit trees', 'Tools', 'Soil', 'Ponds'],
    promise: 'Plants that grew up close to you.',
  },
  {
    kind: 'a climbing gym',
    names: ['Upward', 'Chalk Hall'],
    things: ['Bouldering', 'Lead walls', 'Courses', 'Kids', 'Yoga', 'Cafe'],
    promise: 'A wall for every level.',
  },
  {
    kind: 'a music studio',
    names: ['Blue Room', 'Tape Works'],
    things: ['Recording', 'Mixing', 'Mastering', 'Rehearsal', 'Lessons', 'Voice over'],
    promise: 'Your sound, captured honestly.',
  },
  {
    kind: 'a travel agency',
    names: ['Far & Near', 'Compass Tours'],
    things: ['Fjords', 'Deserts', 'Islands', 'Cities', 'Night trains', 'Hiking'],
    promise: 'Journeys at a human pace.',
  },
  {
    kind: 'a book shop',
    names: ['Paper Moon', 'Margin Notes'],
    things: ['Novels', 'Poetry', 'Cookbooks', 'Maps', 'Comics', 'Essays'],
    promise: 'Read something you did not expect.',
  },
  {
    kind: 'a veterinary practice',
    names: ['Kind Paws', 'Harbour Vets'],
    things: ['Check-ups', 'Dentistry', 'Surgery', 'Vaccines', 'Home visits', 'Advice'],
    promise: 'Calm care for every animal.',
  },
  {
    kind: 'a tea house',
    names: ['Slow Leaf', 'Third Cup'],
    things: ['Green tea', 'Oolong', 'Black tea', 'Matcha', 'Rooibos', 'Teapots'],
    promise: 'Sit down, the kettle is on.',
  },
];

/** background, panel, text, accent, text on the accent. */
const palettes = [
  ['#ffffff', '#f1f5f9', '#0f172a', '#1d4ed8', '#ffffff'],
  ['#fff7ed', '#fed7aa', '#431407', '#c2410c', '#ffffff'],
  ['#0f172a', '#1e293b', '#e2e8f0', '#38bdf8', '#0c4a6e'],
  ['#f0fdf4', '#bbf7d0', '#052e16', '#15803d', '#ffffff'],
  ['#fdf2f8', '#fbcfe8', '#500724', '#be185d', '#ffffff'],
  ['#18181b', '#27272a', '#fafafa', '#f59e0b', '#451a03'],
  ['#fefce8', '#fef08a', '#422006', '#a16207', '#ffffff'],
  ['#f5f3ff', '#ddd6fe', '#2e1065', '#6d28d9', '#ffffff'],
] as const;

/** What is drawn for a task. */
interface Parts {
  business: Business;
  name: string;
  things: readonly string[];
  /** A number for each thing. */
  numbers: readonly number[];
  columns: number;
  /** Of headings, in px. */
  size: number;
}

interface Template {
  name: string;
  split: 'train' | 'test';
  /** The request, which tells neither texts nor colours nor the layout. */
  request(business: Business): string;
  body(parts: Parts): Html;
}

const cards = (parts: Parts, inner: (thing: string, i: number) => Html) =>
  markup`<div class="cards" style="grid-template-columns:repeat(${parts.columns},1fr)">${parts.things.map(
    (thing, i) => markup`<div class="card">${inner(thing, i)}</div>`,
  )}</div>`;
const heading = ({ name, size }: Parts) => markup`<h1 style="font-size:${size}px">${name}</h1>`;
const promise = ({ business }: Parts) => markup`<p>${business.promise}</p>`;
const navigation = ({ things, name }: Parts) =>
  markup`<nav><b>${name}</b>${things.slice(0, 3).map((thing) => markup`<a>${thing}</a>`)}</nav>`;

const templates: readonly Template[] = [
  {
    ...{ name: 'landing', split: 'train', request: ({ kind }) => `Please design the start page of ${kind}.` },
    body: (parts) =>
      markup`${navigation(parts)}<header class="accent">${heading(parts)}${promise(parts)}<a class="button">Visit us</a></header>${cards(parts, (thing) => markup`<h2>${thing}</h2><p>Ask for ${thing.toLowerCase()} today.</p>`)}`,
  },
  {
    ...{ name: 'gallery', split: 'train', request: ({ kind }) => `I need a page with pictures for ${kind}.` },
    body: (parts) =>
      markup`<header>${heading(parts)}${promise(parts)}</header>${cards(parts, (thing) => markup`<img src="picture.png" alt="" style="width:100%;height:140px"><p>${thing}</p>`)}`,
  },
  {
    ...{ name: 'prices', split: 'train', request: ({ kind }) => `Can you make a page with the prices of ${kind}?` },
    body: (parts) =>
      markup`${navigation(parts)}<header>${heading(parts)}</header>${cards(parts, (thing, i) => markup`<h2>${thing}</h2><p class="number">${parts.numbers[i]} EUR</p><a class="button">Choose</a>`)}`,
  },
  {
    ...{ name: 'news', split: 'train', request: ({ kind }) => `Design a page with news of ${kind}.` },
    body: (parts) =>
      markup`<header class="accent">${heading(parts)}</header><main>${parts.things.map((thing, i) => markup`<article><h2>${thing}: what is new</h2><p>${parts.business.promise} Number ${parts.numbers[i]} in our series.</p></article>`)}</main>`,
  },
  {
    ...{
      name: 'contact',
      split: 'train',
      request: ({ kind }) => `I would like a page where people can write to ${kind}.`,
    },
    body: (parts) =>
      markup`${navigation(parts)}<div class="cards" style="grid-template-columns:1fr ${parts.columns}fr"><div class="card accent">${heading(parts)}${promise(parts)}</div><div class="card">${parts.things.slice(0, 2 + (parts.columns % 3)).map((thing) => markup`<p>${thing}</p><div class="field"></div>`)}<a class="button">Send</a></div></div>`,
  },
  {
    ...{
      name: 'numbers',
      split: 'test',
      request: ({ kind }) => `Please show the figures of this month for ${kind} on one page.`,
    },
    body: (parts) =>
      markup`<div class="cards" style="grid-template-columns:1fr 4fr"><div class="card accent"><b>${parts.name}</b>${parts.things.map((thing) => markup`<p>${thing}</p>`)}</div><div><header>${heading(parts)}</header>${cards(parts, (thing, i) => markup`<p>${thing}</p><p class="number">${parts.numbers[i]}</p>`)}</div></div>`,
  },
  {
    ...{
      name: 'list',
      split: 'test',
      request: ({ kind }) => `I want a page that lists what ${kind.replace(/^an? /, 'our ')} has.`,
    },
    body: (parts) =>
      markup`<header>${heading(parts)}${promise(parts)}</header><main>${parts.things.map((thing, i) => markup`<div class="row"><b>${thing}</b><span>${parts.numbers[i]} in stock</span></div>`)}</main><footer class="accent">${parts.name}</footer>`,
  },
];

function documentOf(template: Template, parts: Parts, palette: (typeof palettes)[number]): string {
  const [background, panel, text, accent, onAccent] = palette;
  return markup`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${parts.name}</title>
<style>
body { margin: 0; font: 16px/1.5 sans-serif; background: ${background}; color: ${text} }
nav { display: flex; gap: 24px; padding: 16px 32px; background: ${panel} } header, main { padding: 24px 32px }
h1, h2 { margin: 0 0 8px } h2 { font-size: 20px } p { margin: 0 0 8px } .number { font-size: 28px; color: ${accent} }
.accent { background: ${accent}; color: ${onAccent} } footer { padding: 32px }
.cards { display: grid; gap: 20px; padding: 24px 32px } .card { background: ${panel}; padding: 20px; min-height: 60px }
.accent.card { background: ${accent} } article, .row { background: ${panel}; padding: 20px; margin: 0 0 16px }
.row { display: flex; justify-content: space-between } .field { height: 36px; background: ${background}; border: 1px solid ${accent} }
.button { display: inline-block; padding: 8px 20px; border-radius: 6px; background: ${text}; color: ${background} }
</style></head><body>${template.body(parts)}</body></html>
`.text;
}

/**
 * Distinct tasks, the templates in turn. The first n of a seed are the same for any `count` >= n.
 * @throws RangeError where the templates of `split` have fewer than `count`
 */
export function syntheticTasks(count: number, seed: number, split?: SyntheticTask['split']): SyntheticTask[] {
  const uniform = uniforms(seed);
  const pick = <T>(values: readonly T[]): T => values[Math.floor(uniform() * values.length)] as T;
  const used = templates.filter((template) => split === undefined || template.split === split);
  const tasks = new Map<string, SyntheticTask>();
  for (let tries = 0; tasks.size < count; tries++) {
    if (tries > 100 * count) throw new RangeError(`Expected at most ${tasks.size} tasks but received ${count}`);
    const template = used[tasks.size % used.length] as Template;
    const business = pick(businesses);
    const first = Math.floor(uniform() * business.things.length);
    const columns = 2 + Math.floor(uniform() * 3);
    const things = [...business.things.slice(first), ...business.things.slice(0, first)];
    const parts: Parts = {
      ...{ business, columns, name: pick(business.names), size: 28 + 4 * Math.floor(uniform() * 7) },
      things: things.slice(0, 3 + Math.floor(uniform() * 4)),
      numbers: things.map(() => 1 + Math.floor(uniform() * 99)),
    };
    const ground_truth = documentOf(template, parts, pick(palettes));
    const { name, request } = template;
    tasks.set(ground_truth, {
      ...{ problem_description: request(business), ground_truth, template: name, split: template.split },
    });
  }
  return [...tasks.values()];
}
