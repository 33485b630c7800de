/** Progress on stderr: a bar on a terminal, lines elsewhere. */

/** Characters of the bar. */
const width = 24;
/** Seconds between lines where there is no terminal. */
const lineSeconds = 15;

/** "12 s", "3 min 4 s", "2 h 5 min". */
export function duration(seconds: number): string {
  if (seconds < 60) return `${Math.ceil(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

/** The progress of one stage: done of total, the rate, the remaining time. */
export class Progress {
  readonly #title: string;
  readonly #stream: NodeJS.WriteStream;
  readonly #start = performance.now();
  #drawn = this.#start;

  constructor(title: string, stream: NodeJS.WriteStream) {
    this.#title = title.padEnd(24);
    this.#stream = stream;
  }

  /**
   * @param note such as the loss
   * @param tokens so far, for the rate
   */
  update(done: number, total: number, { note = '', tokens }: { note?: string; tokens?: number } = {}): void {
    const now = performance.now();
    if (now - this.#drawn < (this.#stream.isTTY ? 100 : lineSeconds * 1000)) return;
    this.#drawn = now;
    const seconds = (now - this.#start) / 1000;
    const share = total > 0 ? Math.min(1, done / total) : 1;
    const left = share > 0 ? duration(seconds * (1 / share - 1)) : '?';
    const rate = tokens === undefined ? '' : `  ${Math.round(tokens / seconds)} tokens/s`;
    const full = Math.round(width * share);
    const bar = this.#stream.isTTY ? `${'\u2588'.repeat(full)}${'\u2591'.repeat(width - full)} ` : '';
    this.#write(`${this.#title} ${bar}${done}/${total}${rate}  ${left} left${note === '' ? '' : `  ${note}`}`, false);
  }

  finish(note: string): void {
    this.#write(`${this.#title} ${note}`, true);
  }

  #write(text: string, last: boolean): void {
    if (this.#stream.isTTY) this.#stream.write(`\r\x1b[2K${text}${last ? '\n' : ''}`);
    else this.#stream.write(`${text}\n`);
  }
}
