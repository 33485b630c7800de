/** Pictures of pages, made by a browser that is started again where a page ends it. */
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { createLimiter } from '../../benchmark/limiter.js';
import type { Renderer, RenderFailure, Rendering } from '../types.js';
import { BrowserLauncher, type BrowserOptions } from './browser.js';
import { laidOutElements } from './layout.js';
import { address, answer } from './requests.js';

/** Of every picture, in CSS pixels, which are its pixels. */
export const pageWidth = 1280;
/** Of the window; a picture is as high as its page. */
const windowHeight = 720;
/** A page that is higher is cut. */
export const mostHeight = 8192;
/** Bytes of a page. */
const mostBytes = 4 * 2 ** 20;
/** Sentences on one page. */
const mostProblems = 20;

export interface RendererOptions extends BrowserOptions {
  /** Pages at once; default 2. */
  pages?: number;
  /** Of one page, from its first byte to its picture; default 20. */
  seconds?: number;
  /** Whether scripts of the pages run; default false. */
  scripts?: boolean;
}

/** What ends the rendering of a page; its message is the failure. */
class Failure extends Error {}

/** The browser ended while a page was rendered: by this page or by another one. */
class BrowserEnded extends Error {}

/**
 * Starts Chromium in a sandbox: a network namespace without routes, no files, limits of memory. Every request of a page is answered
 * from here, so that nothing depends on the network.
 *
 * @throws CommandError ERR_BROWSER where Chromium, bubblewrap or playwright-core is missing, with what to install
 */
export async function openRenderer(options: RendererOptions = {}): Promise<Renderer> {
  const launcher = await BrowserLauncher.create(options);
  return new ChromiumRenderer(launcher, await launcher.launch(), options);
}

class ChromiumRenderer implements Renderer {
  readonly #launcher: BrowserLauncher;
  readonly #limit: ReturnType<typeof createLimiter>;
  readonly #alone = createLimiter(1);
  readonly #seconds: number;
  readonly #scripts: boolean;
  #browser: Promise<Browser>;
  #closed = false;

  constructor(
    launcher: BrowserLauncher,
    browser: Browser,
    { pages = 2, seconds = 20, scripts = false }: RendererOptions,
  ) {
    if (!(seconds > 0 && seconds <= 3600)) {
      throw new RangeError(`Expected a number of seconds > 0 and <= 3600 for seconds but received ${seconds}`);
    }
    this.#launcher = launcher;
    this.#browser = Promise.resolve(browser);
    this.#limit = createLimiter(pages);
    this.#seconds = seconds;
    this.#scripts = scripts;
  }

  async render(html: string, signal?: AbortSignal): Promise<Rendering | RenderFailure> {
    const bytes = Buffer.byteLength(html);
    if (bytes > mostBytes) return { failure: `The page has ${bytes} bytes, more than ${mostBytes}`, problems: [] };
    return await this.#limit(async () => {
      try {
        return await this.#renderIn(await this.#running(), html, signal);
      } catch (error) {
        if (!(error instanceof BrowserEnded)) throw error;
        signal?.throwIfAborted();
        return await this.#alone(() => this.#renderAlone(html, signal));
      }
    }, signal);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await (await this.#browser.catch(() => undefined))?.close();
  }

  /** The browser, or the next one where it has ended. */
  async #running(): Promise<Browser> {
    if (this.#closed) throw new Error('The renderer is closed');
    const before = this.#browser;
    const browser = await before;
    if (browser.isConnected()) return browser;
    // The first page that sees it starts the next one.
    if (this.#browser === before) this.#browser = this.#launcher.launch();
    return await this.#running();
  }

  /** In a browser of its own: which of several pages ended the common one cannot be seen. */
  async #renderAlone(html: string, signal: AbortSignal | undefined): Promise<Rendering | RenderFailure> {
    const browser = await this.#launcher.launch();
    try {
      return await this.#renderIn(browser, html, signal);
    } catch (error) {
      if (!(error instanceof BrowserEnded)) throw error;
      return {
        failure: `${error.message}: ${(error.cause as Error | undefined)?.message ?? 'no reason'}`,
        problems: [],
      };
    } finally {
      await browser.close();
    }
  }

  async #renderIn(browser: Browser, html: string, signal: AbortSignal | undefined) {
    signal?.throwIfAborted();
    const problems: string[] = [];
    const report = (problem: string) => {
      if (problems.length < mostProblems && !problems.includes(problem)) problems.push(problem);
    };
    const ended = new AbortController();
    const end = new Promise<never>((_, reject) => {
      const timer = setTimeout(() => reject(new Failure(`No picture within ${this.#seconds} s`)), 1000 * this.#seconds);
      const onAbort = () => reject(signal?.reason);
      const onDisconnect = () => reject(new BrowserEnded('The browser ended'));
      signal?.addEventListener('abort', onAbort);
      browser.once('disconnected', onDisconnect);
      ended.signal.addEventListener('abort', () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        browser.off('disconnected', onDisconnect);
      });
    });
    end.catch(() => {});
    let context: BrowserContext | undefined;
    let finished = false;
    try {
      const work = async () => {
        context = await browser.newContext({
          ...{
            viewport: { width: pageWidth, height: windowHeight },
            deviceScaleFactor: 1,
            javaScriptEnabled: this.#scripts,
          },
          ...{ serviceWorkers: 'block', acceptDownloads: false, reducedMotion: 'reduce', colorScheme: 'light' },
          ...{ locale: 'en-US', timezoneId: 'UTC' },
        });
        return await pictureOf(context, html, report);
      };
      const result = await Promise.race([work(), end]);
      finished = true;
      return { ...result, problems };
    } catch (error) {
      if (error instanceof Failure) return { failure: error.message, problems };
      signal?.throwIfAborted();
      throw error instanceof BrowserEnded ? error : new BrowserEnded('The browser ended', { cause: error });
    } finally {
      ended.abort();
      // A page that hangs cannot be closed alone.
      if (finished) await context?.close().catch(() => {});
      else await browser.close();
    }
  }
}

/** Loads the page, stops its time, and takes the picture and the layout. */
async function pictureOf(
  context: BrowserContext,
  html: string,
  report: (problem: string) => void,
): Promise<Omit<Rendering, 'problems'>> {
  const state = { served: false };
  await context.route('**/*', async (route) => {
    const refused = await answer(route, html, state).catch(() => undefined);
    if (refused !== undefined) report(refused);
  });
  const page = await context.newPage();
  watch(page, context, report);
  const crash = new Promise<never>((_, reject) => page.once('crash', () => reject(new Failure('The page crashed'))));
  crash.catch(() => {});
  const devtools = await context.newCDPSession(page);
  // Of animations of every kind, the first moment; the same picture each time.
  await devtools.send('Animation.enable');
  await devtools.send('Animation.setPlaybackRate', { playbackRate: 0 });
  const draw = async () => {
    // Its time limit is that of the whole.
    await page.goto(address, { waitUntil: 'load', timeout: 0 });
    await hideCaret(devtools);
    const { cssContentSize } = await devtools.send('Page.getLayoutMetrics');
    const height = Math.max(1, Math.min(mostHeight, Math.ceil(cssContentSize.height)));
    if (cssContentSize.height > mostHeight) {
      report(`The page is ${Math.ceil(cssContentSize.height)} pixels high; the picture shows the first ${mostHeight}`);
    }
    const clip = { x: 0, y: 0, width: pageWidth, height, scale: 1 };
    const { data } = await devtools.send('Page.captureScreenshot', {
      format: 'png',
      captureBeyondViewport: true,
      clip,
    });
    const elements = await laidOutElements(devtools);
    return { png: Buffer.from(data, 'base64'), width: pageWidth, height, elements };
  };
  const result = await Promise.race([draw(), crash]);
  if (page.url() !== address) throw new Failure(`The page went to ${page.url().slice(0, 200)}`);
  return result;
}

/** A caret blinks where a field has the focus. The sheet is not part of the document. */
async function hideCaret(devtools: import('playwright-core').CDPSession) {
  await devtools.send('DOM.enable');
  await devtools.send('CSS.enable');
  const { frameTree } = await devtools.send('Page.getFrameTree');
  const { styleSheetId } = await devtools.send('CSS.createStyleSheet', { frameId: frameTree.frame.id });
  await devtools.send('CSS.setStyleSheetText', { styleSheetId, text: '* { caret-color: transparent !important }' });
}

/** What a page tries besides requests. */
function watch(page: Page, context: BrowserContext, report: (problem: string) => void) {
  page.on('console', (message) => {
    const text = message.text();
    if (text.startsWith('Not allowed to load local resource'))
      report(text.replace('Not allowed to load', 'Did not load the').slice(0, 240));
  });
  page.on('dialog', (dialog) => {
    report(`Dismissed a dialog: ${dialog.message().slice(0, 100)}`);
    dialog.dismiss().catch(() => {});
  });
  page.on('download', (download) => {
    report(`Did not download ${download.url().slice(0, 200)}`);
    download.cancel().catch(() => {});
  });
  context.on('page', (other) => {
    if (other === page) return;
    report('Closed another window');
    other.close().catch(() => {});
  });
}
