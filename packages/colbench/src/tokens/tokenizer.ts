/** The tokenizer of a model folder, with and without its control tokens. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { CommandError } from '../errors.js';
import { readJson } from './template.js';

interface AddedToken {
  id: number;
  content: string;
  special: boolean;
}

/** Models of tokenizer.json; older files do not name theirs. */
const modelTypes: readonly unknown[] = ['BPE', 'WordPiece', 'Unigram', 'WordLevel'];

/** Texts whose tokens are kept. */
const cachedTexts = 4096;

/** Encodes text of templates, in which control tokens are tokens, and of contents, in which they are ordinary text. */
export class TextTokenizer {
  readonly #full: Tokenizer;
  readonly #plain: Tokenizer;
  readonly #added: readonly AddedToken[];
  readonly #control: ReadonlySet<number>;
  /** The tokens of contents used last: the prefixes of a dialogue repeat them. */
  readonly #cache = new Map<string, readonly number[]>();

  /**
   * @param json the contents of tokenizer.json
   * @param config the contents of tokenizer_config.json
   */
  constructor(json: Record<string, unknown>, config: Record<string, unknown>) {
    const { type } = (json.model ?? {}) as { type?: unknown };
    // The library takes an unknown type for one that it knows.
    if (type !== undefined && !modelTypes.includes(type)) {
      throw new Error(`model.type must be one of ${modelTypes.join(', ')}, not ${JSON.stringify(type)}`);
    }
    this.#added = (json.added_tokens ?? []) as AddedToken[];
    this.#control = new Set(this.#added.filter(({ special }) => special).map(({ id }) => id));
    this.#full = new Tokenizer(json, config);
    this.#plain = new Tokenizer({ ...json, added_tokens: [] }, config);
  }

  /** @throws CommandError ERR_MODEL where the folder has no tokenizer.json */
  static load(folder: string): TextTokenizer {
    const file = join(folder, 'tokenizer.json');
    if (!existsSync(file)) throw new CommandError('ERR_MODEL', `${folder} has no tokenizer.json`);
    const [json, config] = [readJson(file), readJson(join(folder, 'tokenizer_config.json'))];
    try {
      return new TextTokenizer(json, config);
    } catch (cause) {
      throw new CommandError('ERR_MODEL', `${file} is no tokenizer: ${(cause as Error).message}`, { cause });
    }
  }

  /** Control tokens in the text become tokens. */
  encode(text: string): readonly number[] {
    return text === '' ? [] : this.#full.encode(text, { add_special_tokens: false }).ids;
  }

  /** Control tokens in the text are ordinary text. */
  encodePlain(text: string): readonly number[] {
    if (text === '') return [];
    const known = this.#cache.get(text);
    if (known !== undefined) return known;
    const { ids } = this.#plain.encode(text, { add_special_tokens: false });
    if (this.#cache.size >= cachedTexts) this.#cache.delete(this.#cache.keys().next().value as string);
    this.#cache.set(text, ids);
    return ids;
  }

  /** The text of tokens; control tokens are shown. */
  decode(ids: Iterable<number>): string {
    const all = [...ids];
    // The library refuses an empty list.
    return all.length === 0
      ? ''
      : this.#full.decode(all, { skip_special_tokens: false, clean_up_tokenization_spaces: false });
  }

  /** Whether a token is a control token, such as the end of a turn. */
  isControl(id: number): boolean {
    return this.#control.has(id);
  }

  /** The first added token in a text; with `control`, the first control token. */
  addedIn(text: string, control = false): string | undefined {
    const found = this.#added.find(
      ({ content, special }) => (special || !control) && content !== '' && text.includes(content),
    );
    return found?.content;
  }
}
