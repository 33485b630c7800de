import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));

it("runs the README's example as printed", () => {
  const readme = readFileSync(`${root}/README.md`, 'utf8');
  const [, code, output] = /```js\n(.*?)```\s+```text\n(.*?)```/s.exec(readme) as unknown as [string, string, string];
  const printed = execFileSync(process.execPath, ['--input-type=module', '--eval', code], {
    cwd: root,
    encoding: 'utf8',
  });
  expect(printed).toBe(output);
});
