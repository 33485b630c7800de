/** An agent without a model: draws what the scripted user of human.ts has said, so that its pages grow more alike. */
import type { Chat, ChatMessage } from '../benchmark/converse.js';
import { marker, maxTurns } from '../benchmark/protocol.js';
import { escaped } from '../view/html.js';

interface Wishes {
  background: string;
  panel?: string;
  columns: number;
  height: number;
  /** By the text; in the order in which they were named. */
  texts: Map<string, { size: number; color: string }>;
}

const text = String.raw`("(?:[^"\\]|\\.)*")`;
const sentences: [RegExp, (wishes: Wishes, found: string[]) => void][] = [
  [
    /The background of most of the page should be (#[0-9a-f]{6})\./g,
    (wishes, [color = '']) => {
      wishes.background = color;
    },
  ],
  [
    /There should be more of the colour (#[0-9a-f]{6}) /g,
    (wishes, [color = '']) => {
      wishes.panel = color;
    },
  ],
  [
    /There should be (\d+) columns?, not/g,
    (wishes, [count]) => {
      wishes.columns = Math.min(12, Number(count));
    },
  ],
  [
    /The page should be (\d+) px high/g,
    (wishes, [height]) => {
      wishes.height = Math.min(8192, Number(height));
    },
  ],
  [
    new RegExp(String.raw`I miss the text ${text} \((\d+) px, (#[0-9a-f]{6})\)`, 'g'),
    ({ texts }, [name = '', size, color = '']) => {
      texts.set(name, { size: Number(size), color });
    },
  ],
  [
    new RegExp(String.raw`The text ${text} should have (\d+) px`, 'g'),
    ({ texts }, [name = '', size]) => {
      texts.set(name, { color: '#000000', ...texts.get(name), size: Number(size) });
    },
  ],
  [
    new RegExp(`The text ${text} should be (#[0-9a-f]{6})`, 'g'),
    ({ texts }, [name = '', color = '']) => {
      texts.set(name, { size: 16, ...texts.get(name), color });
    },
  ],
];

function wishesOf(messages: readonly ChatMessage[]): Wishes {
  const wishes: Wishes = { background: '#ffffff', columns: 1, height: 0, texts: new Map() };
  for (const { role, content } of messages) {
    if (role !== 'user') continue;
    for (const [pattern, apply] of sentences)
      for (const [, ...found] of content.matchAll(pattern)) apply(wishes, found);
  }
  return wishes;
}

function pageFor({ background, panel, columns, height, texts }: Wishes): string {
  const lines = [...texts].map(
    ([name, { size, color }]) =>
      `<p style="font-size:${size}px;color:${color}">${escaped(JSON.parse(name) as string)}</p>`,
  );
  // Large texts are headings above the columns.
  const sizes = [...texts.values()].map(({ size }) => size);
  const [head, rest] = [lines.filter((_, i) => (sizes[i] ?? 0) >= 24), lines.filter((_, i) => (sizes[i] ?? 0) < 24)];
  const perColumn = Math.max(1, Math.ceil(rest.length / columns));
  const boxes = Array.from({ length: columns }, (_, i) => rest.slice(i * perColumn, (i + 1) * perColumn));
  const box = `padding:16px;min-height:80px${panel === undefined ? '' : `;background:${panel}`}`;
  return `<html><body style="margin:0;font-family:sans-serif;background:${background};min-height:${height}px">
<div style="padding:24px">${head.join('')}</div>
<div style="display:grid;gap:16px;padding:24px;grid-template-columns:repeat(${columns},1fr)">
${boxes.map((each) => `<div style="${box}">${each.join('')}</div>`).join('\n')}
</div></body></html>`;
}

/** @param turns messages up to the answer, the answer included */
export const scriptedDesigner =
  (turns: number): Chat =>
  (messages) => {
    const turn = 1 + messages.filter(({ role }) => role === 'assistant').length;
    const page = pageFor(wishesOf(messages));
    return turn >= Math.min(turns, maxTurns) ? `${marker}\n${page}` : `Like this?\n${page}`;
  };

/** The turns of the samples of a task: they stop at different likeness, so that there are pairs. */
export const turnsOfSample = (sample: number): number => [1, 3, 5][sample % 3] as number;
