/** Of an environment variable; undefined where there are none, as in browsers. */
export const variable = (name: string): string | undefined =>
  typeof process === 'undefined' ? undefined : process.env?.[name];
