/** Simulated users of a frontend task: both compare the agent's last page with the task's. */
import type { Human } from '../benchmark/converse.js';
import { type Complete, EndpointError, type EndpointMessage } from '../benchmark/endpoint.js';
import { humanInstructions, lastPage } from './conversation.js';
import { differences } from './differences.js';
import type { Pages } from './pages.js';

const imageOf = (png: Uint8Array) => ({
  type: 'image_url' as const,
  image_url: { url: `data:image/png;base64,${Buffer.from(png).toString('base64')}` },
});
const textOf = (text: string) => ({ type: 'text' as const, text });

/**
 * A vision model. Each request is one user message: the instructions, the picture of the agent's last page or a sentence that
 * there is none, the picture of the task's page. The dialogue is not part of it.
 * @param released a refused request (HTTP 400) is answered by "No response."
 */
export const visionHuman =
  (complete: Complete, pages: Pages, instructions = humanInstructions, released = false): Human =>
  async ({ ground_truth }, dialogue, options) => {
    const truth = await pages.truth(ground_truth);
    const html = lastPage(dialogue);
    const picture = html === undefined ? undefined : await pages.render(html);
    const shown =
      picture === undefined
        ? [textOf("There is no page of the designer's yet.")]
        : 'png' in picture
          ? [textOf("The designer's page:"), imageOf(picture.png)]
          : [textOf("The designer's page cannot be shown.")];
    const content = [textOf(instructions), ...shown, textOf('The page that you have in mind:'), imageOf(truth.png)];
    const messages: EndpointMessage[] = [{ role: 'user', content }];
    try {
      return (await complete(messages, options))[0]?.content ?? '';
    } catch (error) {
      if (released && error instanceof EndpointError && error.status === 400) return 'No response.';
      throw error;
    }
  };

/** A user without a model: names the largest differences of the two layouts. For tests and first tries. */
export const scriptedHuman =
  (pages: Pages): Human =>
  async ({ ground_truth }, dialogue) => {
    const truth = await pages.truth(ground_truth);
    const html = lastPage(dialogue);
    if (html === undefined) return 'I see no page yet. Please show me one.';
    const picture = await pages.render(html);
    if (!('png' in picture)) return 'I cannot see your page. Please make a simpler one.';
    const remarks = differences(picture, truth);
    return remarks.length === 0 ? 'It looks as I want it.' : remarks.join(' ');
  };
