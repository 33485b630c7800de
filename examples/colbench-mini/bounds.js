/** Bounds of the environment: the success of scripted demonstrators with and without their wasteful habits. */
import { behaviour, demonstrate, habits, knowsAll } from './dialogue.js';
import { random } from './random.js';
import { drawTasks } from './task.js';

const count = 5000;
const never = habits.smallTalk.map(() => 0);
const demonstrators = {
  'as in the demonstrations': habits,
  'no small talk': { ...habits, smallTalk: never },
  'no repeated questions': { ...habits, repeat: never },
  neither: { ...habits, smallTalk: never, repeat: never },
  'neither, topics of the domain first': { smallTalk: never, repeat: never, usual: 1e6 },
};

console.log(`Success of demonstrators whose answers use exactly the replies, ${count} test tasks each`);
for (const [name, demonstratorHabits] of Object.entries(demonstrators)) {
  const rand = random(1, 61);
  const source = drawTasks('test', rand);
  const tasks = Array.from({ length: count }, () => source.next().value);
  const episodes = tasks.map((task) => {
    const turns = demonstrate(task, rand, demonstratorHabits);
    return { turns, reward: Number(knowsAll(task, turns.slice(0, -1))) };
  });
  const { allKnown, repeated, smallTalk } = behaviour(tasks, episodes);
  const cells = { success: allKnown, repeated, 'small talk': smallTalk };
  const text = Object.entries(cells).map(([cell, share]) => `${cell} ${(100 * share).toFixed(1).padStart(4)} %`);
  console.log(`${name.padEnd(40)}${text.join('   ')}`);
}
