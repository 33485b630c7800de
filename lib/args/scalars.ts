// Numbers, booleans and names among the options.
import { expected, rangeError, typeError } from '../argument-errors.js';

export function boolean(argument: string, value: unknown, fallback: boolean): boolean {
  if (value === undefined) return fallback;
  if (typeof value !== 'boolean') throw typeError('ERR_ARG_TYPE', expected('a boolean', argument, value));
  return value;
}

/** A number for which `holds`; `rule` is the condition as text. */
export function number(
  argument: string,
  value: unknown,
  fallback: number,
  rule: string,
  holds: (x: number) => boolean,
): number {
  if (value === undefined) return fallback;
  if (typeof value !== 'number') throw typeError('ERR_ARG_TYPE', expected(rule, argument, value));
  if (!holds(value)) throw rangeError('ERR_ARG_VALUE', expected(rule, argument, value));
  return value;
}

export function positive(argument: string, value: unknown, fallback: number): number {
  return number(argument, value, fallback, 'a finite number > 0', (x) => Number.isFinite(x) && x > 0);
}

export function notNegative(argument: string, value: unknown, fallback: number): number {
  return number(argument, value, fallback, 'a finite number >= 0', (x) => Number.isFinite(x) && x >= 0);
}

/** The factor of a term of the loss: gradients are float32, which ends at 3.4e38. */
export function coefficient(argument: string, value: unknown, fallback: number): number {
  return number(argument, value, fallback, 'a number from 0 to 1e30', (x) => x >= 0 && x <= 1e30);
}

/** The factor of a term that may also be subtracted. */
export function signedCoefficient(argument: string, value: unknown, fallback: number): number {
  return number(argument, value, fallback, 'a number from -1e30 to 1e30', (x) => Math.abs(x) <= 1e30);
}

/** A temperature or the inverse of one: what scores are divided by or multiplied with, the range of a head's temperature. */
export function scaleFactor(argument: string, value: unknown, fallback: number): number {
  return number(argument, value, fallback, 'a number from 1e-30 to 1e30', (x) => x >= 1e-30 && x <= 1e30);
}

/** What a sum is divided by: a count or a sum of weights. The quotients are float32, which ends at 3.4e38. */
export function divisor(argument: string, value: unknown, fallback: number): number {
  return number(argument, value, fallback, 'a finite number >= 1e-30', (x) => Number.isFinite(x) && x >= 1e-30);
}

export function integer(argument: string, value: unknown, fallback: number, least: number, most: number): number {
  const holds = (x: number) => Number.isInteger(x) && x >= least && x <= most;
  // The rule is formatted only where it is broken: in a small call the formatting is a measurable part of the time.
  if (value === undefined) return fallback;
  if (typeof value === 'number' && holds(value)) return value;
  return number(argument, value, fallback, `an integer from ${least} to ${most}`, holds);
}

export function oneOf<T extends string>(argument: string, value: unknown, fallback: T, names: readonly T[]): T {
  if (value === undefined) return fallback;
  if (names.includes(value as T)) return value as T;
  const message = expected(names.map((name) => `'${name}'`).join(' | '), argument, value);
  throw typeof value === 'string' ? rangeError('ERR_ARG_VALUE', message) : typeError('ERR_ARG_TYPE', message);
}
