/** The renderer and the embedding by the options of the command line; the kind of a command's task. */
import { type TaskKind, taskKinds } from '../benchmark/records.js';
import { UsageError } from '../errors.js';
import { Pages } from '../frontend/pages.js';
import type { Renderer } from '../frontend/types.js';
import { checkInput, type Values } from '../values.js';

/** Pages of one browser at once; each has a process of its own. */
const mostPages = 4;

export const taskOption = { task: { type: 'string' } } as const;
export const taskUsage = `  --task backend|frontend    the records' task (backend); records of the other one are errors`;

export const taskOf = (values: Values): TaskKind => values.choice('task', taskKinds);

export const pageOptions = {
  chromium: { type: 'string' },
  clip: { type: 'string' },
  'page-seconds': { type: 'string' },
} as const;

export const pageUsage = `  of --task frontend:
  --chromium FILE            Debian's Chromium
  --clip FILE                CLIP's image encoder as ONNX, for the rewards; the default needs no file
  --page-seconds N           of one page (20)`;

/** Options of one kind of task are errors with the other. */
export function checkKindOptions(values: Values, kind: TaskKind, names: readonly string[], owner: TaskKind): void {
  const given = names.find((name) => values.text(name) !== undefined || values.flag(name));
  if (kind !== owner && given !== undefined) throw new UsageError(`--${given} needs --task ${owner}`);
}

const secondsOf = (values: Values) => values.number('page-seconds', 20, 0.1, 3600, false);

/** Opens Chromium. @throws CommandError ERR_BROWSER with what to install */
export async function rendererOf(values: Values, concurrency: number): Promise<Renderer> {
  const chromium = values.text('chromium');
  const { openRenderer } = await import('../frontend/render/renderer.js');
  const pages = Math.min(concurrency, mostPages);
  return await openRenderer({ ...(chromium !== undefined && { chromium }), seconds: secondsOf(values), pages });
}

/** Opens Chromium and the embedding. @throws CommandError ERR_BROWSER with what to install */
export async function openPages(values: Values, concurrency: number, signal: AbortSignal) {
  const clip = values.text('clip');
  if (clip !== undefined) checkInput(clip, '--clip');
  const renderer = await rendererOf(values, concurrency);
  try {
    const { openEmbedding } = await import('../frontend/similarity/index.js');
    const embedding = await openEmbedding(clip === undefined ? 'default' : { clip });
    const settings = { embedding: embedding.name, seconds: secondsOf(values) };
    return { pages: new Pages(renderer, embedding, signal), settings };
  } catch (error) {
    await renderer.close();
    throw error;
  }
}
