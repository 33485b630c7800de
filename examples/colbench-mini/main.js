/** The demo: trains an agent by SWEET-RL from its own dialogues, or with --full by all methods of the comparison. */
import './portable.js'; // before anything imports sweet-rl
import { help, parseArguments } from './arguments.js';
import { Cache } from './cache.js';
import { Executor } from './execute.js';

/** @param {import('./arguments.js').Options} options */
async function main(options) {
  const cache = new Cache(options);
  const executor = new Executor();
  try {
    if (options.full) {
      const { compare } = await import('./comparison.js');
      await compare(options, cache, executor);
    } else {
      const { demonstrate } = await import('./demonstration.js');
      await demonstrate(options, cache, executor);
    }
  } finally {
    await executor.close();
  }
}

let options;
try {
  options = parseArguments(process.argv.slice(2));
} catch (error) {
  console.error(`${error.message}\n\n${help}`);
  process.exit(2);
}
if (options.help) console.log(help);
else await main(options);
