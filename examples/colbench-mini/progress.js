/** Progress with the remaining time: a bar on a terminal, lines elsewhere. */

const width = 24;
const lineSeconds = 15;

const duration = (/** @type {number} */ seconds) =>
  seconds < 60 ? `${Math.ceil(seconds)} s` : `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;

export class Progress {
  #title;
  #stream;
  #start = performance.now();
  #drawn = this.#start;

  /** @param {string} title @param {NodeJS.WriteStream} stream */
  constructor(title, stream = process.stdout) {
    this.#title = title.padEnd(32);
    this.#stream = stream;
  }

  /** @param {number} done @param {number} total */
  update(done, total) {
    const now = performance.now();
    if (now - this.#drawn < (this.#stream.isTTY ? 100 : lineSeconds * 1000)) return;
    this.#drawn = now;
    const share = Math.min(1, done / total);
    const left = share > 0 ? duration(((now - this.#start) / 1000) * (1 / share - 1)) : '\u2026';
    const percent = `${Math.floor(100 * share)} %`.padStart(5);
    if (this.#stream.isTTY) {
      const full = Math.round(width * share);
      this.#redraw(`${this.#title} ${'\u2588'.repeat(full)}${'\u2591'.repeat(width - full)} ${percent}  ${left} left`);
    } else {
      this.#stream.write(`${this.#title} ${percent}  ${left} left\n`);
    }
  }

  /** @param {string} note */
  finish(note) {
    const line = `${this.#title} ${note}`;
    if (this.#stream.isTTY) this.#redraw(`${line}\n`);
    else this.#stream.write(`${line}\n`);
  }

  /** @param {string} text */
  #redraw(text) {
    this.#stream.write(`\r\x1b[2K${text}`);
  }
}
