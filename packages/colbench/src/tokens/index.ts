/** Tokens: what the commands and the trainer use. */
export { ChatTokenizer, type ChatTokenizerOptions, type EncodeOptions } from './chat.js';
export {
  candidateSequence,
  type DialogueOptions,
  dialogueMessages,
  dialogueStates,
  type EncodedDialogue,
  encodeDialogue,
  ownPrivileged,
  type Privileged,
  privilegedText,
  promptMessages,
  releasedPrivileged,
  withPrivileged,
} from './records.js';
export { type ChatMessage, ChatTemplate, loadTemplate, readJson } from './template.js';
export { TextTokenizer } from './tokenizer.js';
