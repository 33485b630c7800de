// Mutually exclusive groups of options: a head of logits or of hidden states, one form of the reference or another.
import { typeError } from '../argument-errors.js';

/** A group, by the option that selects it, and the options that must not be given with it. */
export interface ExclusiveGroup<N extends string> {
  name: N;
  excluded: readonly N[];
}

/** The first option of each list selects its group. */
export function exclusiveGroups<N extends string>(lists: readonly (readonly N[])[]): ExclusiveGroup<N>[] {
  return lists.map((own) => ({
    name: own[0] as N,
    excluded: lists.flat().filter((option) => !own.includes(option)),
  }));
}

/** The name of the one group that is given; throws for none, several, or an option of another group. */
export function selectGroup<N extends string>(
  options: { readonly [name in N]?: unknown },
  groups: readonly ExclusiveGroup<N>[],
  what: string,
): N {
  let selected: ExclusiveGroup<N> | undefined;
  for (const group of groups) {
    if (options[group.name] === undefined) continue;
    if (selected !== undefined) {
      throw typeError('ERR_ARG_TYPE', ruleOf(groups, what, `${selected.name} and ${group.name}`));
    }
    selected = group;
  }
  if (selected === undefined) throw typeError('ERR_ARG_TYPE', ruleOf(groups, what, 'none'));
  for (const option of selected.excluded) {
    if (options[option] !== undefined) {
      throw typeError('ERR_UNKNOWN_OPTION', `Expected no ${option} beside ${selected.name} but received one`);
    }
  }
  return selected.name;
}

const ruleOf = (groups: readonly ExclusiveGroup<string>[], what: string, received: string): string =>
  `Expected one of ${groups.map(({ name }) => name).join(', ')} for ${what} but received ${received}`;
