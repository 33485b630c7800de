/**
 * The words of the miniature: what the agent, the human and the programs are written in.
 *
 * A hidden function is a chain of calls on a list of integers. Each of its attributes is one call (`.keep(x => x >
 * 10)`) and has a topic, which is the word that asks for it (`filter`), and a word of the human for each of its
 * options (`big`): the human never says what the program says, so the agent has to translate.
 */

/** @typedef {{ topic: string, call: string, options: { word: string, code: string }[] }} Attribute */

const attribute = (topic, call, options) => ({
  topic,
  call,
  options: Object.entries(options).map(([word, code]) => ({ word, code })),
});

/** @type {Attribute[]} in the order in which a program lists them */
export const attributes = [
  attribute('filter', '.keep(', { big: 'x=>x>10)', small: 'x=>x<40)', even: 'x=>x%2===0)', odd: 'x=>x%2!==0)' }),
  attribute('change', '.each(', { doubled: 'x=>x*2)', shifted: 'x=>x+1)', squared: 'x=>x*x)', negated: 'x=>-x)' }),
  attribute('range', '.slice(', { leading: '0,2)', trailing: '-2)', later: '1)', earlier: '0,-1)' }),
  attribute('result', '.fold(', { total: 'sum)', largest: 'max)', smallest: 'min)', final: 'last)' }),
  attribute('rounding', '.round(', { tens: '10)', fives: '5)', hundreds: '100)', sevens: '7)' }),
  attribute('limit', '.clamp(', {
    ceiling: '-Infinity,30)',
    lid: '-Infinity,15)',
    floor: '20,Infinity)',
    base: '35,Infinity)',
  }),
  attribute('empty', '.orElse(', { zero: '0)', minus: '-1)', nothing: 'null)', unknown: '"?")' }),
  attribute('output', '.show(', { dollars: '"$")', percent: '"%")', kilos: '"kg")', text: '"")' }),
];

/** Where the function is used, and the topics that matter there more often than elsewhere: six domains a topic. */
export const domains = {
  orders: ['change', 'rounding', 'output'],
  grades: ['filter', 'range', 'result'],
  sensors: ['change', 'limit', 'empty'],
  bills: ['filter', 'limit', 'output'],
  trips: ['range', 'rounding', 'empty'],
  shifts: ['filter', 'result', 'limit'],
  rents: ['result', 'rounding', 'empty'],
  votes: ['change', 'range', 'output'],
  loans: ['result', 'empty', 'output'],
  fares: ['filter', 'range', 'rounding'],
  yields: ['change', 'result', 'limit'],
  steps: ['filter', 'change', 'empty'],
  sales: ['rounding', 'limit', 'output'],
  goals: ['range', 'result', 'limit'],
  tides: ['filter', 'change', 'rounding'],
  wages: ['range', 'empty', 'output'],
};

export const smallTalk = ['weather', 'football', 'lunch', 'music'];

/** How a question begins; the topic is its last word, and the human answers as soon as it is named. */
export const openings = [[], ['and'], ['what', 'about'], ['what', 'about'], ['please', 'tell', 'me', 'about']];
export const smallTalkOpenings = [
  ['by', 'the', 'way', 'do', 'you', 'like'],
  ['by', 'the', 'way'],
  ['and'],
  ['what', 'about'],
];

/**
 * What the human says: about an attribute of the function, about one it lacks, to a repeated question, to small talk.
 */
export const replies = {
  present: [[], ['want']],
  absent: [['unsure'], ['whatever']],
  repeated: [['again']],
  smallTalk: [['irrelevant'], ['hm']],
};

/** Five questions and the answer. */
export const maxTurns = 6;

const words = new Set([
  '<pad>',
  '<hidden>',
  '<task>',
  '<end>',
  ...Array.from({ length: maxTurns }, (_, turn) => `<agent${turn + 1}>`),
  'ANSWER',
  '<value>',
  'xs',
  'code',
  'for',
  'with',
  ...Object.keys(domains),
  ...attributes.map((a) => a.topic),
  ...smallTalk,
  ...openings.flat(),
  ...smallTalkOpenings.flat(),
  ...Object.values(replies).flat(2),
  ...attributes.flatMap((a) => [a.call, ...a.options.map((o) => o.word)]),
  ...attributes.map((a) => `<settled ${a.topic}>`),
]);
const codeWord = (index, option) => `${index}:${option.code}`;
attributes.forEach((a, index) => {
  for (const option of a.options) words.add(codeWord(index, option));
});

/** jax-js multiplies matrices many times slower when a dimension is not a multiple of 8, hence the filling words. */
while (words.size % 16) words.add(`<unused${words.size}>`);

/** @type {string[]} */
export const vocabulary = [...words];
const ids = new Map(vocabulary.map((word, id) => [word, id]));

/** @param {string} word @returns {number} */
export function tokenOf(word) {
  const id = ids.get(word);
  if (id === undefined) throw new RangeError(`Expected a word of the vocabulary but received ${word}`);
  return id;
}

/** @param {readonly string[]} text */
export const tokensOf = (text) => text.map(tokenOf);

export const token = {
  pad: tokenOf('<pad>'),
  hidden: tokenOf('<hidden>'),
  task: tokenOf('<task>'),
  end: tokenOf('<end>'),
  agent: Array.from({ length: maxTurns }, (_, turn) => tokenOf(`<agent${turn + 1}>`)),
  answer: tokenOf('ANSWER'),
  value: tokenOf('<value>'),
  xs: tokenOf('xs'),
};

/**
 * What the network reads is a word and, in the bits above it, notes: topics that are settled, and the task's domain. Each note
 * adds an embedding to the word's. The environment puts notes on the token that opens the agent's turn; no word of a
 * speaker has any.
 */
const wordBits = 8;
const domainBits = wordBits + attributes.length;
const firstNote = tokenOf(`<settled ${attributes[0].topic}>`);
const firstDomain = tokenOf(Object.keys(domains)[0]);

/** @param {number} id @param {Iterable<number>} topics indices of attributes @param {number} domain its token */
export function withNotes(id, topics, domain) {
  let code = id | ((domain - firstDomain + 1) << domainBits);
  for (const topic of topics) code |= 1 << (wordBits + topic);
  return code;
}

export const wordOf = (code) => code & ((1 << wordBits) - 1);

/** The vocabulary's entries that embed a token: its word and its notes. */
export function embeddedIds(code) {
  const ids = [wordOf(code)];
  attributes.forEach((_, topic) => {
    if ((code >> (wordBits + topic)) & 1) ids.push(firstNote + topic);
  });
  const domain = code >> domainBits;
  if (domain > 0) ids.push(firstDomain + domain - 1);
  return ids;
}

/** Topic token -> index of its attribute, or -1 for small talk. */
export const topics = new Map([
  ...attributes.map((a, index) => /** @type {[number, number]} */ ([tokenOf(a.topic), index])),
  ...smallTalk.map((word) => /** @type {[number, number]} */ ([tokenOf(word), -1])),
]);

/**
 * A function as data: for each attribute the index of its option, or -1 where the function lacks it.
 * @typedef {number[]} Spec
 */

/** @param {Spec} spec @returns {number[]} the program's tokens */
export const programTokens = (spec) => [
  token.xs,
  ...spec.flatMap((option, index) => {
    if (option < 0) return [];
    const { call, options } = attributes[index];
    return [tokenOf(call), tokenOf(codeWord(index, options[option]))];
  }),
];

/** Tokens joined to JavaScript. Nothing checks the grammar here: a wrong program fails when it is compiled. */
export const programSource = (tokens) => Array.from(tokens, (id) => vocabulary[id].replace(/^\d:/, '')).join('');

/** Tokens as a sentence. */
export const textOf = (tokens) => tokens.map((code) => vocabulary[wordOf(code)]).join(' ');
