// Options of which a call takes one kind or another: a head of logits or a linear one, one reference or another.
import { typeError } from './errors.js';

/** One way to say something, by the option that tells it, and the options that belong to the other ways. */
export interface Alternative<N extends string> {
  name: N;
  foreign: readonly N[];
}

/** Each list of options starts with the one that tells its way. */
export function alternatives<N extends string>(lists: readonly (readonly N[])[]): Alternative<N>[] {
  return lists.map((own) => ({
    name: own[0] as N,
    foreign: lists.flat().filter((option) => !own.includes(option)),
  }));
}

/** The one alternative that is given; none of the options that belong to another may be. */
export function choose<N extends string>(
  options: { readonly [name in N]?: unknown },
  ways: readonly Alternative<N>[],
  what: string,
): N {
  let chosen: Alternative<N> | undefined;
  for (const way of ways) {
    if (options[way.name] === undefined) continue;
    if (chosen !== undefined) throw typeError('ERR_ARG_TYPE', oneOfRule(ways, what, `${chosen.name} and ${way.name}`));
    chosen = way;
  }
  if (chosen === undefined) throw typeError('ERR_ARG_TYPE', oneOfRule(ways, what, 'none'));
  for (const option of chosen.foreign) {
    if (options[option] !== undefined) {
      throw typeError('ERR_UNKNOWN_OPTION', `Expected no ${option} beside ${chosen.name} but received one`);
    }
  }
  return chosen.name;
}

const oneOfRule = (ways: readonly Alternative<string>[], what: string, came: string): string =>
  `Expected one of ${ways.map(({ name }) => name).join(', ')} for ${what} but received ${came}`;
