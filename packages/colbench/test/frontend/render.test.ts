/** Pages in Chromium: pictures, layouts, and what hostile pages do not get. */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { PNG } from 'pngjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mostHeight, openRenderer, pageWidth } from '../../src/frontend/render/renderer.ts';
import type { Renderer, Rendering } from '../../src/frontend/types.ts';

let renderer: Renderer;
beforeAll(async () => {
  renderer = await openRenderer({ pages: 2, seconds: 60 });
});
afterAll(() => renderer.close());

const body = (content: string, style = '') => `<html><body style="margin:0;${style}">${content}</body></html>`;

async function rendered(html: string, by = renderer): Promise<Rendering> {
  const result = await by.render(html);
  if ('failure' in result) throw new Error(result.failure);
  return result;
}

const pixel = ({ png }: Rendering, x: number, y: number) => {
  const { data, width } = PNG.sync.read(Buffer.from(png));
  return [...data.subarray(4 * (y * width + x), 4 * (y * width + x) + 3)];
};

/** Processes whose command line has this text. */
function processesWith(text: string): string[] {
  return readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name) || name === String(process.pid)) return false;
    try {
      return readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(text);
    } catch {
      return false;
    }
  });
}

describe('a page', () => {
  it('is drawn at a fixed width and as high as it is', async () => {
    const page = await rendered(body('<div style="height:1500px;background:rgb(1,2,3)"></div>'));
    const { width, height } = PNG.sync.read(Buffer.from(page.png));
    expect([width, height, page.width, page.height]).toEqual([pageWidth, 1500, pageWidth, 1500]);
    expect(pixel(page, 640, 1499)).toEqual([1, 2, 3]);
    expect(page.problems).toEqual([]);
  });

  it('is a string of bytes in UTF-8', async () => {
    const [first] = (await rendered(body('<p>Grüße, 世界</p>'))).elements.filter(({ tag }) => tag === 'p');
    expect(first?.text).toBe('Grüße, 世界');
  });

  it('has a layout: place, text, colours and sizes of elements', async () => {
    const style =
      'position:absolute;left:10px;top:20px;width:300px;height:40px;color:rgb(255,0,0);background:rgb(0,0,255);font-size:24px';
    const { elements } = await rendered(body(`<div style="${style}">Two <b>words</b></div><p hidden>no</p>`));
    expect(elements.filter(({ tag }) => tag === 'div' || tag === 'b' || tag === 'p')).toMatchObject([
      {
        ...{ tag: 'div', text: 'Two', x: 10, y: 20, width: 300, height: 40 },
        ...{ color: 'rgb(255, 0, 0)', background: 'rgb(0, 0, 255)', fontSize: 24 },
      },
      { tag: 'b', text: 'words' },
    ]);
  });

  it('gets one local picture for every picture, and the stylesheet of Tailwind', async () => {
    const link = '<link rel="stylesheet" href="https://cdn.jsdelivr.net/npm/tailwindcss@2.2.19/dist/tailwind.min.css">';
    const page = await rendered(
      `<html><head>${link}</head><body><div class="bg-red-500 w-32 h-32"></div><img class="w-32 h-32" src="https://picsum.photos/id/48/9"></body></html>`,
    );
    expect(pixel(page, 64, 64)).toEqual([239, 68, 68]);
    const [r, g, b] = pixel(page, 64, 192) as [number, number, number];
    expect(r > 100 && r < 200 && r === g && g === b).toBe(true);
    expect(page.problems).toEqual([]);
  });

  it('is the same picture twice, whatever moves or blinks', async () => {
    const moving =
      body(`<style>@keyframes m{from{left:0}to{left:500px}} i{position:absolute;animation:m 1s infinite;width:50px;height:50px;background:red}</style>
      <i></i><input autofocus value="text"><marquee>moving</marquee><video autoplay></video>
      <svg width="300" height="50"><rect width="20" height="20"><animate attributeName="x" from="0" to="280" dur="1s" repeatCount="indefinite"/></rect></svg>`);
    const pages = await Promise.all(Array.from({ length: 4 }, () => rendered(moving)));
    for (const { png } of pages) expect(Buffer.from(png).equals(Buffer.from(pages[0]!.png))).toBe(true);
  });

  it('has no scripts unless they are asked for, and then no network either', async () => {
    const script = body(
      '<script>document.body.style.background = "rgb(9, 9, 9)"; fetch("https://example.org/x")</script>',
    );
    expect(pixel(await rendered(script), 5, 5)).toEqual([255, 255, 255]);
    const scripted = await openRenderer({ scripts: true, seconds: 60 });
    try {
      const page = await rendered(script, scripted);
      expect(pixel(page, 5, 5)).toEqual([9, 9, 9]);
      expect(page.problems).toEqual(['Did not load the fetch https://example.org/x']);
      const dialogs = await rendered(
        body('<script>alert("hi"); open("https://example.org/"); new WebSocket("ws://127.0.0.1:1")</script>ok'),
        scripted,
      );
      expect(dialogs.problems).toEqual(expect.arrayContaining(['Dismissed a dialog: hi']));
    } finally {
      await scripted.close();
    }
  });
});

/** Hostile pages that are drawn all the same, with what is reported. */
const contained: [name: string, html: string, problems: RegExp[]][] = [
  ['an image of a file', body('<img src="file:///etc/passwd">'), [/local resource: file:\/\/\/etc\/passwd/]],
  [
    'a frame with a file',
    body('<iframe src="file:///etc/passwd"></iframe>'),
    [/local resource: file:\/\/\/etc\/passwd/],
  ],
  [
    'a frame of another host',
    body('<iframe src="http://169.254.169.254/latest"></iframe>'),
    [/^Did not go to http:\/\/169\.254/],
  ],
  [
    'a refresh to another page',
    '<html><head><meta http-equiv="refresh" content="0;url=http://example.org/"></head><body>x</body></html>',
    [],
  ],
  [
    'a stylesheet of another host',
    body('<link rel="stylesheet" href="http://127.0.0.1:22/a.css">'),
    [/^Did not load the stylesheet http:\/\/127/],
  ],
  [
    'an import and a font',
    body(
      '<style>@import "https://example.org/a.css"; @font-face{font-family:f;src:url(https://example.org/f.woff)} p{font-family:f}</style><p>x</p>',
    ),
    [/stylesheet https:\/\/example.org\/a.css/, /font https:\/\/example.org\/f.woff/],
  ],
  [
    'an embedded object',
    body('<object data="https://example.org/o"></object><embed src="https://example.org/e">'),
    [/example\.org/],
  ],
  [
    'a script and a preload',
    body(
      '<script src="https://example.org/s.js"></script><link rel="preload" as="fetch" href="https://example.org/p">x',
    ),
    [],
  ],
  [
    'a page of a million pixels',
    body('<div style="height:1000000px"></div>'),
    [new RegExp(`the first ${mostHeight}$`)],
  ],
  ['a page of infinite width', body('<div style="width:99999999px;height:50px;background:red"></div>'), []],
  ['ten thousand nested elements', body('<div>'.repeat(10_000)), []],
  [
    'a form that submits itself',
    body('<form action="https://example.org/"><input autofocus onfocus="this.form.submit()"></form>'),
    [],
  ],
  [
    'markup after its end',
    `${body('x')}<script>1</script><iframe src="https://example.org/late">`,
    [/example.org\/late/],
  ],
  [
    'a download',
    body(
      '<a download href="data:application/octet-stream,x" autofocus>x</a><iframe src="data:application/zip,x"></iframe>',
    ),
    [],
  ],
  [
    'a prefetch of a name',
    body('<link rel="dns-prefetch" href="//example.org"><link rel="preconnect" href="//example.org">x'),
    [],
  ],
  [
    'a thousand requests',
    body(Array.from({ length: 1000 }, (_, i) => `<link rel="stylesheet" href="https://example.org/${i}">`).join('')),
    [/^Did not load the stylesheet/],
  ],
];

describe('hostile pages', () => {
  it.each(contained)('%s is drawn and reported', async (_, html, problems) => {
    const page = await rendered(html);
    for (const problem of problems)
      expect(
        page.problems.some((each) => problem.test(each)),
        String(page.problems),
      ).toBe(true);
    expect(page.problems.length).toBeLessThanOrEqual(20);
    expect(PNG.sync.read(Buffer.from(page.png)).width).toBe(pageWidth);
  });

  it.each([['too many bytes', `<html>${'x'.repeat(5 * 2 ** 20)}</html>`, /^The page has 5242893 bytes/]])(
    '%s has no picture',
    async (_, html, failure) => {
      expect(await renderer.render(html)).toMatchObject({ failure: expect.stringMatching(failure) });
    },
  );

  it('a page that takes too long is given up, and the next one is drawn', async () => {
    const impatient = await openRenderer({ scripts: true, seconds: 8 });
    try {
      const endless = await impatient.render(body('<script>for (;;);</script>'));
      expect(endless).toMatchObject({ failure: 'No picture within 8 s' });
      expect(await rendered(body('x'), impatient)).toMatchObject({ problems: [] });
    } finally {
      await impatient.close();
    }
  });

  it('a page gets no more memory than the limit, and the next one is drawn', async () => {
    const limited = await openRenderer({ scripts: true, seconds: 60, memoryBytes: 512 * 2 ** 20 });
    try {
      const greedy = `<p></p><script>const all = [];
        try { for (;;) all.push(new Uint8Array(2 ** 24).fill(1)); } catch {}
        document.querySelector('p').textContent = all.length;</script>`;
      const { elements } = await rendered(body(greedy), limited);
      const blocks = Number(elements.find(({ tag }) => tag === 'p')?.text);
      expect(blocks).toBeLessThan(32);
      expect(await rendered(body('x'), limited)).toMatchObject({ problems: [] });
    } finally {
      await limited.close();
    }
  });

  it('no request reaches a server of this machine', async () => {
    let requests = 0;
    const server = createServer((_, response) => {
      requests += 1;
      response.end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const url = `http://127.0.0.1:${port}`;
    const page = `<link rel="stylesheet" href="${url}/a"><link rel="preconnect" href="${url}"><img src="${url}/i"><iframe src="${url}/f"></iframe><video src="${url}/v"></video>`;
    await rendered(body(page));
    server.close();
    expect(requests).toBe(0);
  });
});

it('leaves no process and no file, also where its process is killed', async () => {
  const before = new Set(readdirSync(tmpdir()));
  const marker = `${2 ** 30 + 4096 * (process.pid % 1000)}`;
  const own = await openRenderer({ memoryBytes: Number(marker) });
  expect(processesWith(`--data=${marker}`).length).toBeGreaterThan(0);
  await own.close();
  expect(processesWith(`--data=${marker}`)).toEqual([]);
  expect(readdirSync(tmpdir()).filter((name) => !before.has(name) && name.startsWith('playwright'))).toEqual([]);

  const module = fileURLToPath(new URL('../../dist/frontend/render/renderer.js', import.meta.url));
  const script = `const { openRenderer } = await import(${JSON.stringify(module)});
    await openRenderer({ memoryBytes: ${marker} }); console.log('open'); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((resolve) => child.stdout.once('data', resolve));
  expect(processesWith(`--data=${marker}`).length).toBeGreaterThan(0);
  child.kill('SIGKILL');
  // The kernel ends them one after the other.
  while (processesWith(`--data=${marker}`).length > 0) await setTimeout(20);
});

it.each([
  [{ chromium: '/nowhere/chromium' }, /there is no \/nowhere\/chromium.*apt-get install chromium/],
  [{ bubblewrap: 'no-bwrap' }, /"no-bwrap" does not start.*apt-get install bubblewrap/],
  [{ chromium: '/bin/true' }, /Chromium does not start in the sandbox/],
])('says what is missing: %o', async (options, message) => {
  await expect(openRenderer(options)).rejects.toMatchObject({
    code: 'ERR_BROWSER',
    message: expect.stringMatching(message),
  });
});
