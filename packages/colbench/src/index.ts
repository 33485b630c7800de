/** ColBench's backend task as functions; main.js is the command line. */
export { agentPrompt, converse } from './converse.js';
export { EndpointError, endpointChat } from './endpoint.js';
export { Evaluator, programOf } from './evaluate.js';
export { modelHuman, scriptedHuman } from './human.js';
export { Journal } from './journal.js';
export { dialoguePairs, messagePairs } from './pairs.js';
export { answerOf, cutReply, marker, maxReply, maxTurns } from './protocol.js';
export {
  checkedDialogue,
  checkedTask,
  RecordError,
  readAnswers,
  readDialogues,
  readTasks,
  writeRecords,
} from './records.js';
export { defaultLimits } from './sandbox/run.js';
export { buildWall, SandboxError } from './sandbox/wall.js';
