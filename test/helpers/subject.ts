/** A valid call of a public function, and what each of its arguments may be. */
import { type Argument, array, type Kind, type Options } from './arguments.ts';

export interface Subject {
  /** The function, and which of its ways. */
  name: string;
  call: (options: never) => unknown;
  valid: () => Options;
  arguments: Argument[];
  /** The result that may be its input. */
  inPlace?: readonly [out: string, input: string];
}

/** Kinds by the names of the options; the buffers of `out` are in the valid call and of fixed lengths. */
export function subject(
  call: (options: never) => unknown,
  way: string,
  valid: () => Options,
  kinds: Record<string, Kind>,
  inPlace?: Subject['inPlace'],
): Subject {
  const { out = {} } = valid() as { out?: Record<string, Float32Array> };
  const buffers = Object.entries(out).map(([name, buffer]) => ({
    path: ['out', name],
    name: `out.${name}`,
    kind: array(buffer.constructor.name, { fixed: true, optional: true }),
  }));
  const options = Object.entries(kinds).map(([name, kind]) => ({ path: [name], name, kind }));
  return {
    name: way === '' ? call.name : `${call.name} ${way}`,
    call,
    valid,
    arguments: [...options, ...buffers],
    ...(inPlace && { inPlace }),
  };
}
