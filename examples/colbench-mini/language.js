/**
 * The vocabulary of the miniature, for the agent, the simulated user and the programs.
 *
 * A hidden function is a chain of calls on a list of integers. Each of its attributes is one call,
 * such as `.keep(x=>x>10)`, with a topic, which a question names (`filter`), and a term for each of its options, which
 * the user replies (`big`). The terms differ from the program text, so the agent has to translate.
 */

/** @typedef {{ topic: string, call: string, options: { term: string, code: string }[] }} Attribute */

const attribute = (topic, call, options) => ({
  topic,
  call,
  options: Object.entries(options).map(([term, code]) => ({ term, code })),
});

/** @type {Attribute[]} in the order of the calls in a program */
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

/** Domains of tasks with the topics that are usual in each; every topic is usual in six domains. */
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

/** Beginnings of questions. The topic is the last token of a question: the user replies as soon as it is named. */
export const openings = [[], ['and'], ['what', 'about'], ['what', 'about'], ['please', 'tell', 'me', 'about']];
export const smallTalkOpenings = [
  ['by', 'the', 'way', 'do', 'you', 'like'],
  ['by', 'the', 'way'],
  ['and'],
  ['what', 'about'],
];

/**
 * The user's replies: about an attribute of the function, about one that it lacks, to a repeated question, to small
 * talk.
 */
export const replies = {
  present: [[], ['want']],
  absent: [['unsure'], ['whatever']],
  repeated: [['again']],
  smallTalk: [['irrelevant'], ['hm']],
};

/** Five questions and the answer. */
export const maxTurns = 6;

const entries = new Set([
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
  ...attributes.flatMap((a) => [a.call, ...a.options.map((o) => o.term)]),
  ...attributes.map((a) => `<settled ${a.topic}>`),
]);
const codeEntry = (index, option) => `${index}:${option.code}`;
attributes.forEach((a, index) => {
  for (const option of a.options) entries.add(codeEntry(index, option));
});

/** Padding: jax-js multiplies matrices many times slower if a dimension is not a multiple of 8. */
while (entries.size % 16) entries.add(`<unused${entries.size}>`);

/** @type {string[]} */
export const vocabulary = [...entries];
const ids = new Map(vocabulary.map((entry, id) => [entry, id]));

/** The token id of a vocabulary entry. @param {string} entry @returns {number} */
export function tokenOf(entry) {
  const id = ids.get(entry);
  if (id === undefined) throw new RangeError(`Expected a vocabulary entry but received ${entry}`);
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
 * An input of the network is a token id and, in the bits above it, notes: the settled topics and the task's domain.
 * Each note adds its embedding to the token's. Only the token that opens a turn of the agent has notes.
 */
const idBits = 8;
const domainBits = idBits + attributes.length;
const firstNote = tokenOf(`<settled ${attributes[0].topic}>`);
const firstDomain = tokenOf(Object.keys(domains)[0]);

/** @param {number} id @param {Iterable<number>} topics indices of attributes @param {number} domain its token */
export function withNotes(id, topics, domain) {
  let code = id | ((domain - firstDomain + 1) << domainBits);
  for (const topic of topics) code |= 1 << (idBits + topic);
  return code;
}

/** The token id of an input, without its notes. */
export const idOf = (code) => code & ((1 << idBits) - 1);

/** The vocabulary entries whose embeddings are added for an input: the token and its notes. */
export function embeddedIds(code) {
  const ids = [idOf(code)];
  attributes.forEach((_, topic) => {
    if ((code >> (idBits + topic)) & 1) ids.push(firstNote + topic);
  });
  const domain = code >> domainBits;
  if (domain > 0) ids.push(firstDomain + domain - 1);
  return ids;
}

/** Token of a topic -> index of its attribute, or -1 for small talk. */
export const topics = new Map([
  ...attributes.map((a, index) => /** @type {[number, number]} */ ([tokenOf(a.topic), index])),
  ...smallTalk.map((topic) => /** @type {[number, number]} */ ([tokenOf(topic), -1])),
]);

/**
 * A function as data: for each attribute the index of its option, or -1 if the function lacks it.
 * @typedef {number[]} Spec
 */

/** @param {Spec} spec @returns {number[]} the program's tokens */
export const programTokens = (spec) => [
  token.xs,
  ...spec.flatMap((option, index) => {
    if (option < 0) return [];
    const { call, options } = attributes[index];
    return [tokenOf(call), tokenOf(codeEntry(index, options[option]))];
  }),
];

/** Tokens joined to JavaScript. The grammar is not checked here: an invalid program fails to compile. */
export const programSource = (tokens) => Array.from(tokens, (id) => vocabulary[id].replace(/^\d:/, '')).join('');

/** Tokens as a sentence. */
export const textOf = (tokens) => tokens.map((code) => vocabulary[idOf(code)]).join(' ');
