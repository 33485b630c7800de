/** HTML with everything escaped. */

/** HTML that is not escaped again. */
export class Html {
  constructor(readonly text: string) {}
}

const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/** A text without characters that HTML reads as markup. */
export const escaped = (text: string) => text.replace(/[&<>"']/g, (character) => entities[character] as string);

type Part = Html | string | number | undefined | readonly Part[];

function textOf(part: Part): string {
  if (part === undefined) return '';
  if (part instanceof Html) return part.text;
  if (Array.isArray(part)) return part.map(textOf).join('');
  return escaped(String(part));
}

/** A template literal whose values are escaped unless they are Html. */
export const html = (strings: TemplateStringsArray, ...parts: Part[]): Html =>
  new Html(strings.reduce((all, text, i) => `${all}${textOf(parts[i - 1])}${text}`));
