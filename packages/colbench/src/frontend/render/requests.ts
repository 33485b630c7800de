/** How the requests of a page are answered: from the record, or by one local picture; nothing else. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import type { Route } from 'playwright-core';
import { PNG } from 'pngjs';

/** The address of a page. No such host exists; the answer comes from here. */
export const address = 'http://page.invalid/';

/** The picture that stands for every picture: a grey ramp, so that its size and place can be seen. */
export const picture: Buffer = (() => {
  const [width, height] = [320, 200];
  const png = new PNG({ width, height });
  for (let i = 0; i < width * height; i++) {
    const grey = 120 + Math.floor((60 * (i % width)) / width);
    png.data.set([grey, grey, grey, 255], 4 * i);
  }
  return PNG.sync.write(png, { deflateLevel: 9 });
})();

let stylesheet: Buffer | undefined;
/** The stylesheet of Tailwind 2.2.19, to which the pages of WebSight link. The build of this package has copied it. */
const tailwind = () =>
  (stylesheet ??= gunzipSync(readFileSync(new URL('../../../assets/tailwind-2.2.19.min.css.gz', import.meta.url))));

/**
 * Answers a request of a page.
 *
 * @param html answers the request of the page itself, once
 * @returns what was refused, as a sentence; undefined where the request was answered
 */
export async function answer(route: Route, html: string, state: { served: boolean }): Promise<string | undefined> {
  const request = route.request();
  const [url, type] = [request.url(), request.resourceType()];
  if (url === address && !state.served && type === 'document') {
    state.served = true;
    await route.fulfill({ contentType: 'text/html; charset=utf-8', body: html });
    return undefined;
  }
  if (type === 'image') {
    await route.fulfill({ contentType: 'image/png', body: picture });
    return undefined;
  }
  if (type === 'stylesheet' && /tailwind/i.test(url)) {
    await route.fulfill({ contentType: 'text/css; charset=utf-8', body: tailwind() });
    return undefined;
  }
  if (request.isNavigationRequest()) {
    // "No content": the page stays as it is.
    await route.fulfill({ status: 204 });
    return `Did not go to ${url.slice(0, 200)}`;
  }
  await route.abort('blockedbyclient');
  return `Did not load the ${type} ${url.slice(0, 200)}`;
}
