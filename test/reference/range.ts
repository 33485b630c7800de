/** begin, begin + 1, ... end - 1 */
export function range(begin: number, end: number): number[] {
  return Array.from({ length: end - begin }, (_, i) => begin + i);
}
