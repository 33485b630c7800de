/** ColBench's backend task as functions, and the tokens of dialogues; main.ts is the command line. */
export { bestOf } from './benchmark/best-of.js';
export { agentPrompt, type Chat, converse, type Human, type Rules } from './benchmark/converse.js';
export { EndpointError, type EndpointOptions, endpointChat, endpointCompletions } from './benchmark/endpoint.js';
export { type Evaluation, Evaluator, programOf, type Verdict } from './benchmark/evaluate.js';
export { modelHuman, type Script, scriptedHuman } from './benchmark/human.js';
export { Journal } from './benchmark/journal.js';
export { type Candidates, dialoguePairs, rankedPairs } from './benchmark/pairs.js';
export { answerOf, cutReply, marker, maxReply, maxTurns } from './benchmark/protocol.js';
export {
  type AnyTask,
  checkedDialogue,
  checkedTask,
  type Dialogue,
  type FrontendTask,
  type Message,
  RecordError,
  readAnswers,
  readDialogues,
  readTasks,
  type Task,
  writeRecords,
} from './benchmark/records.js';
export { releasedHuman, releasedRules } from './benchmark/released.js';
export { defaultLimits } from './benchmark/sandbox/run.js';
export { buildWall, SandboxError } from './benchmark/sandbox/wall.js';
export { type ScoreRule, scoreOf } from './benchmark/score.js';
export type { Command, CommandInput } from './command.js';
export { CommandError, UsageError } from './errors.js';
export type { Model, Sampler, Sequence } from './model.js';
export * from './tokens/index.js';
