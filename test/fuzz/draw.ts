/** The choices of a case, one after the other: fast-check makes them from a seed, and makes them smaller where a case fails. */
import fc from 'fast-check';
import { Random } from '../helpers/random.ts';

export class Draw {
  /** The case in words, for the message of a failure. */
  case = '';

  constructor(private readonly generate: fc.GeneratorValue) {}

  /** A whole number from `least` to `most`; smaller cases have smaller ones. */
  integer(least: number, most: number): number {
    return this.generate(fc.integer, { min: least, max: most });
  }

  /** True once in `times`; smaller cases have false. */
  once(times: number): boolean {
    return this.integer(1, times) === times;
  }

  /** One of a list; smaller cases have earlier ones. */
  of<T>(list: readonly T[]): T {
    return list[this.integer(0, list.length - 1)] as T;
  }

  /** From `least` to `most` elements. */
  list<T>(least: number, most: number, element: (index: number) => T): T[] {
    return Array.from({ length: this.integer(least, most) }, (_, i) => element(i));
  }

  /** Numbers that are not made smaller. */
  random(): Random {
    return new Random(this.integer(0, 2 ** 31 - 1));
  }
}

/** What must hold of every case; the error of a case that fails has the case in front. */
export interface Property {
  name: string;
  /** Cases of the short test. */
  cases: number;
  check: (draw: Draw) => Promise<void>;
}

export function property({ check }: Property): fc.IAsyncProperty<[fc.GeneratorValue]> {
  return fc.asyncProperty(fc.gen(), async (generate) => {
    const draw = new Draw(generate);
    try {
      await check(draw);
    } catch (error) {
      throw new Error(`${draw.case}\n${(error as Error).message}`, { cause: error });
    }
    // The runner of the tests reports its progress meanwhile.
    await new Promise((resolve) => setImmediate(resolve));
  });
}
