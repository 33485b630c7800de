/** Generated tasks with scripted dialogues: what the test model learns. 5 subjects x 4 filters x 4 results. */
import type { Script } from '../benchmark/human.js';
import type { Dialogue, Message, Task } from '../benchmark/records.js';
import { uniforms } from '../trainer/batches.js';

interface Subject {
  things: string;
  number: string;
  flag: string;
  /** What the filter by the flag is called. */
  flagged: string;
}

const subjects: readonly Subject[] = [
  { things: 'orders', number: 'price', flag: 'paid', flagged: 'that are paid' },
  { things: 'trips', number: 'miles', flag: 'done', flagged: 'that are done' },
  { things: 'books', number: 'pages', flag: 'read', flagged: 'that were read' },
  { things: 'jobs', number: 'hours', flag: 'open', flagged: 'that are open' },
  { things: 'goods', number: 'stock', flag: 'sold', flagged: 'that are sold' },
];

interface Detail {
  /** The user's answer. */
  says(subject: Subject): string;
  code(subject: Subject): string;
}

const filters: readonly Detail[] = [
  { says: () => 'All of them.', code: () => 'True' },
  { says: ({ flagged }) => `Only those ${flagged}.`, code: ({ flag }) => `x['${flag}']` },
  { says: ({ number }) => `Only those with more than 10 ${number}.`, code: ({ number }) => `x['${number}'] > 10` },
  { says: ({ flagged }) => `None of those ${flagged}.`, code: ({ flag }) => `not x['${flag}']` },
];

const results: readonly Detail[] = [
  { says: ({ number }) => `The sum of the ${number}.`, code: ({ number }) => `sum(x['${number}'] for x in some)` },
  { says: () => 'How many there are.', code: () => 'len(some)' },
  {
    says: ({ number }) => `The largest ${number}, or 0.`,
    code: ({ number }) => `max([x['${number}'] for x in some] + [0])`,
  },
  { says: ({ number }) => `The ${number} in order.`, code: ({ number }) => `sorted(x['${number}'] for x in some)` },
];

const whichQuestion = ({ things }: Subject) => `Which ${things} count?`;
const whatQuestion = () => 'What is the result?';
const vainQuestion = () => 'Can you tell me more?';
const vainAnswer = 'What do you want to know?';

function program(subject: Subject, filter: Detail, result: Detail): string {
  const { things } = subject;
  return `def report(${things}):\n    some = [x for x in ${things} if ${filter.code(subject)}]\n    return ${result.code(subject)}\n`;
}

function taskOf(subject: Subject, filter: Detail, result: Detail): Task {
  const { things, number, flag } = subject;
  const rows = [[2, 13], [4], [12, 12], [30, 7, 11], [10, 11, 9, 25]];
  const calls = rows.flatMap((values) =>
    [0, 1].map((odd) => {
      const items = values.map((value, i) => `{'${number}': ${value}, '${flag}': ${i % 2 === odd ? 'True' : 'False'}}`);
      return `report([${items.join(', ')}])`;
    }),
  );
  return {
    problem_description: `Please write a function \`report(${things})\` about my ${things}.`,
    ground_truth: program(subject, filter, result),
    test_cases: calls,
  };
}

/** How a demonstrator leads the conversation: what to ask, and what the program gets right. */
type Style = 'careful' | 'vain' | 'repeats' | 'guesses';

const STYLES: readonly [Style, number][] = [
  ['careful', 0.7],
  ['vain', 0.1],
  ['repeats', 0.1],
  ['guesses', 0.1],
];

export interface TinyTask {
  task: Task;
  subject: Subject;
  filter: Detail;
  result: Detail;
}

/** The 80 tasks, in a fixed order. */
export function tinyTasks(): TinyTask[] {
  return subjects.flatMap((subject) =>
    filters.flatMap((filter) =>
      results.map((result) => ({ task: taskOf(subject, filter, result), subject, filter, result })),
    ),
  );
}

/** A quarter of the tasks is held out: each of their details occurs in others. */
export function splitTasks(): { seen: TinyTask[]; heldOut: TinyTask[] } {
  // The indices of subject, filter and result are i / 16, i / 4 and i modulo 4.
  const isHeldOut = (_: TinyTask, i: number) => (Math.floor(i / 16) + Math.floor(i / 4) + i) % 4 === 0;
  const all = tinyTasks();
  return { seen: all.filter((task, i) => !isHeldOut(task, i)), heldOut: all.filter(isHeldOut) };
}

/** The user of `replyOf` as a script of `converse`. */
export function tinyScript(): Script {
  const exactly = (code: string) => code.replace(/[^a-z0-9 ']/gi, '\\$&');
  const topics = subjects.flatMap((subject) => {
    const problem = exactly(`report(${subject.things})`);
    const ofDetails = (question: string, before: string, details: readonly Detail[], after: string) =>
      details.map((detail) => ({
        ...{ asked: exactly(question), problem, truth: exactly(`${before}${detail.code(subject)}${after}`) },
        reply: detail.says(subject),
      }));
    return [
      ...ofDetails(whichQuestion(subject), ' if ', filters, ']\n'),
      ...ofDetails(whatQuestion(), 'return ', results, '\n'),
    ];
  });
  return { topics, unknown: vainAnswer };
}

/** What the user replies to a question of the agent. */
export function replyOf({ subject, filter, result }: TinyTask, question: string): string {
  if (question === whichQuestion(subject)) return filter.says(subject);
  if (question === whatQuestion()) return result.says(subject);
  return vainAnswer;
}

/** A scripted dialogue about a task; the reward is 1 where the program is the hidden one. */
export function scriptedDialogue(tiny: TinyTask, style: Style): Dialogue {
  const { task, subject } = tiny;
  const [which, what, vain] = [whichQuestion(subject), whatQuestion(), vainQuestion()];
  const questions = {
    careful: [which, what],
    vain: [vain, which, what],
    repeats: [which, which, what],
    guesses: [vain],
  }[style];
  const history: Message[] = [{ role: 'user', content: task.problem_description }];
  for (const question of questions) {
    history.push({ role: 'assistant', content: question }, { role: 'user', content: replyOf(tiny, question) });
  }
  const isGuess = style === 'guesses';
  const answer = isGuess ? program(subject, filters[0] as Detail, results[1] as Detail) : task.ground_truth;
  history.push({ role: 'assistant', content: `I WANT TO ANSWER:\n${answer}` });
  return { task, dialogue_history: history, answer: answer.trim(), reward: answer === task.ground_truth ? 1 : 0 };
}

/** `count` dialogues of each task, of demonstrators drawn by the seed: most are careful, some ask in vain, repeat or guess. */
export function tinyDialogues(count: number, seed: number, tasks: readonly TinyTask[] = tinyTasks()): Dialogue[] {
  const uniform = uniforms(seed);
  return tasks.flatMap((tiny) => Array.from({ length: count }, () => scriptedDialogue(tiny, drawn(uniform()))));
}

function drawn(u: number): Style {
  let rest = u;
  for (const [style, share] of STYLES) {
    if (rest < share) return style;
    rest -= share;
  }
  return 'careful';
}
