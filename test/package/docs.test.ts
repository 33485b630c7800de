/** The code blocks of the README and the guide: JavaScript prints the documented output, and CI or a test runs each command. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { installedProject } from '../helpers/installed.ts';
import { blocksOf, PAGES, printedBy } from '../helpers/pages.ts';
import { ROOT } from '../helpers/processes.ts';
import { loadTensorflow } from '../helpers/tensorflow.ts';

const tensorflow = await loadTensorflow();
const linux = process.platform === 'linux';

/** Commands that CI or another test runs: the file that does, and the text in it. */
const RUN_BY: Record<string, [file: string, text: string]> = {
  'npm ci': ['.ci/run', 'npm ci\n'],
  'npm ci --prefix examples/adapters': ['.ci/run', 'npm ci --prefix examples/adapters'],
  'npm test': ['.ci/run', 'npm test'],
  'npm run demo': ['.ci/run', 'npm run demo'],
  'npm run docs': ['.ci/run', 'npm run docs'],
  'npm run build:prebuilds': ['test/install/run.js', "'build:prebuilds'"],
  'npm run build:prebuilds -- --all': ['scripts/release.js', "'build:prebuilds', '--', '--all'"],
  'npm run test:platforms': ['.github/workflows/release.yml', 'node test/platforms/run.js --native'],
  'npm run test:install': ['.ci/run', 'npm run test:install'],
  'npm install sweet-rl': ['test/install/run.js', "add: ['install', file]"],
  'npm install git+https://github.com/OWNER/sweet-rl.git': ['test/install/run.js', '`git+file://'],
  'node --permission --allow-addons --allow-fs-read=* app.js': ['test/addon/loader.test.ts', "'--allow-addons'"],
  'pnpm add sweet-rl': ['test/install/run.js', "command: 'pnpm', add: ['add', file]"],
  'yarn add sweet-rl': ['test/install/run.js', "command: 'yarn', add: ['add'"],
  'bun add sweet-rl': ['test/install/run.js', "command: 'bun', add: ['add', file]"],
  'npm install sweet-rl-colbench': ['packages/colbench/package.json', '"name": "sweet-rl-colbench"'],
  'npx sweet-rl info': ['test/install/run.js', "'sweet-rl', 'info'"],
  'npx sweet-rl build': ['test/install/run.js', "'build']"],
  'node examples/adapters/jax.js': ['examples/adapters/test/training.test.ts', "'adapters/jax.js'"],
  'node examples/adapters/tfjs.js': ['examples/adapters/test/training.test.ts', "'adapters/tfjs.js'"],
  'node examples/adapters/shm.js': ['examples/adapters/test/training.test.ts', "'adapters/shm.js'"],
  'node examples/pytorch/main.js': ['examples/adapters/test/training.test.ts', "'pytorch/main.js'"],
  'node examples/systems/grpo.js': ['examples/systems/test/systems.test.ts', "grpo: ['groupAdvantages']"],
  'node examples/systems/grpo.js --seed 2 --out curves': [
    'examples/systems/test/systems.test.ts',
    "'--seed', String(seed), '--out', folder",
  ],
};

const project = installedProject({ addon: true });
afterAll(project.remove);

function commandsOf(page: string): string[] {
  return blocksOf(page)
    .filter(({ language }) => language === 'sh')
    .flatMap(({ code }) => code.split('\n'))
    .flatMap((line) => line.replace(/ +#.*/, '').split('&&'))
    .map((command) => command.trim())
    .filter((command) => command !== '');
}

describe.each(PAGES)('%s', (page) => {
  const blocks = blocksOf(page);
  const programs = blocks.filter(({ language }) => language === 'js');
  const needs = (name: string) => programs.some(({ code }) => code.includes(name));
  const runs = (tensorflow !== undefined || !needs('@tensorflow')) && (linux || !needs('/shm'));

  it('has only blocks that are tested', () => {
    const known = ['js', 'sh', 'text'];
    expect(blocks.map(({ language }) => language).filter((language) => !known.includes(language))).toEqual([]);
  });

  it.runIf(programs.length > 0 && runs)('prints the documented output', () => {
    const printed = printedBy(programs);
    programs.forEach((block, i) => {
      const next = blocks[blocks.indexOf(block) + 1];
      expect(printed[i], block.code).toBe(next?.language === 'text' ? next.code : '');
    });
  });

  const commands = commandsOf(page);
  it.runIf(commands.length > 0).each(commands)('%s', (command) => {
    if (command.startsWith('npx esbuild ')) {
      writeFileSync(
        join(project.folder, 'app.js'),
        "import { threads } from 'sweet-rl';\nconsole.log(threads() > 0);\n",
      );
      const static_ = command.includes('--alias:sweet-rl=sweet-rl/static');
      const bin = join(ROOT, 'node_modules', '.bin', 'esbuild');
      const built = spawnSync(bin, command.split(' ').slice(2), { cwd: project.folder, encoding: 'utf8' });
      expect(built.status, built.stderr).toBe(0);
      const file = static_ ? 'out/app.js' : 'app.cjs';
      const { stdout } = spawnSync(process.execPath, [file], { cwd: project.folder, encoding: 'utf8' });
      expect(stdout).toBe('true\n');
      return;
    }
    // The package's own test runs the options of each of these commands on its page.
    const ofColbench = command.startsWith('npx colbench ') && ['packages/colbench/test/guide.test.ts', page];
    const [file, text] = RUN_BY[command] ?? (ofColbench || []);
    expect(file, `nothing runs "${command}"`).toBeDefined();
    expect(readFileSync(join(ROOT, file!), 'utf8')).toContain(text);
  });

  it('links to existing files', () => {
    const text = readFileSync(join(ROOT, page), 'utf8');
    const links = [...text.matchAll(/\]\(([^)\s#]+)(?:#[^)]*)?\)/g)].map(([, target]) => target!);
    const local = links.filter((target) => !/^https?:/.test(target));
    expect(local.filter((target) => !existsSync(join(ROOT, dirname(page), target)))).toEqual([]);
  });
});
