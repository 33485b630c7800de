// The caller's result buffers: each has exactly the class and length that a fresh one would have, and none lies over an
// input or another result.
import { checkOptions, float32 } from './checks.js';
import { rangeError, typeError } from './errors.js';

type Named = readonly [name: string, view: ArrayBufferView | undefined];

/** The buffers that results must not lie over. */
export type Inputs = readonly Named[];

export class Out {
  private readonly given: Readonly<Record<string, unknown>>;
  private readonly taken: Named[] = [];

  constructor(out: unknown, known: ReadonlySet<string>) {
    if (out !== undefined) checkOptions('out', out, known);
    this.given = (out ?? {}) as Record<string, unknown>;
  }

  /** Whether the caller brought this buffer. */
  has(name: string): boolean {
    return this.given[name] !== undefined;
  }

  float32(name: string, length: number): Float32Array {
    return this.take(
      name,
      (argument, value) => float32(argument, value, length),
      () => new Float32Array(length),
    );
  }

  /** The caller's buffer if `checked` lets it pass, else a fresh one. */
  take<T extends ArrayBufferView>(name: string, checked: (argument: string, value: unknown) => T, fresh: () => T): T {
    if (!this.has(name)) return fresh();
    const view = checked(`out.${name}`, this.given[name]);
    this.taken.push([`out.${name}`, view]);
    return view;
  }

  /** A result that this call does not have must not be asked for. */
  refuse(name: string, why: string): void {
    if (this.has(name)) throw typeError('ERR_UNKNOWN_OPTION', `Expected no out.${name} but received one: ${why}`);
  }

  /** `inPlace`: an input that one result may be, exactly. */
  checkOverlap(inputs: Inputs, inPlace?: readonly [out: string, input: string]): void {
    for (const [i, [name, view]] of this.taken.entries()) {
      for (const [otherName, other] of [...inputs, ...this.taken.slice(0, i)]) {
        if (other === undefined || view === undefined || !overlap(view, other)) continue;
        const allowed = inPlace !== undefined && name === `out.${inPlace[0]}` && otherName === inPlace[1];
        if (allowed && view.byteOffset === other.byteOffset && view.byteLength === other.byteLength) continue;
        throw rangeError(
          'ERR_OVERLAP',
          `Expected memory of its own for ${name} but received one that overlaps ${otherName}`,
        );
      }
    }
  }
}

function overlap(a: ArrayBufferView, b: ArrayBufferView): boolean {
  return (
    a.buffer === b.buffer && a.byteOffset < b.byteOffset + b.byteLength && b.byteOffset < a.byteOffset + a.byteLength
  );
}
