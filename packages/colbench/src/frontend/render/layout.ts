/** The elements of a page as they are laid out, from a snapshot of DevTools, which needs no scripts. */
import type { CDPSession } from 'playwright-core';
import type { LaidOutElement } from '../types.js';

/** More elements are left out. */
const mostElements = 5000;
const styles = ['color', 'background-color', 'font-size'];
const elementNode = 1;

/** The elements of the main document that take room, with the text that is directly in each. */
export async function laidOutElements(devtools: CDPSession): Promise<LaidOutElement[]> {
  const { documents, strings } = await devtools.send('DOMSnapshot.captureSnapshot', { computedStyles: styles });
  const [page] = documents;
  if (page === undefined) return [];
  const { nodes, layout } = page;
  const stringAt = (index: number | undefined) => (index === undefined || index < 0 ? '' : (strings[index] as string));
  const texts = new Map<number, string>();
  layout.nodeIndex.forEach((node, i) => {
    const text = stringAt(layout.text[i]).trim();
    const parent = nodes.parentIndex?.[node];
    if (text !== '' && parent !== undefined) texts.set(parent, `${texts.get(parent) ?? ''} ${text}`.trim());
  });
  const elements: LaidOutElement[] = [];
  for (const [i, node] of layout.nodeIndex.entries()) {
    const [x, y, width, height] = layout.bounds[i] as [number, number, number, number];
    if (nodes.nodeType?.[node] !== elementNode || width <= 0 || height <= 0) continue;
    const [color, background, fontSize] = (layout.styles[i] ?? []).map(stringAt);
    elements.push({
      ...{ tag: stringAt(nodes.nodeName?.[node]).toLowerCase(), text: texts.get(node) ?? '', x, y, width, height },
      ...{ color: color ?? '', background: background ?? '', fontSize: Number.parseFloat(fontSize ?? '') || 0 },
    });
    if (elements.length === mostElements) break;
  }
  return elements;
}
