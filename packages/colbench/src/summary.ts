/** The summary of a command as text. */

/** A row of a table. */
type Row = Record<string, unknown>;

const isRow = (value: unknown): value is Row => typeof value === 'object' && value !== null && !Array.isArray(value);

/** "34.2 %" of a share. */
export const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

/** A table with a column for each key of the rows, in the order in which they first appear. */
export function tableText(rows: readonly Row[]): string {
  const keys = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const cells = [keys, ...rows.map((row) => keys.map((key) => shown(row[key])))];
  const widths = keys.map((_, k) => Math.max(...cells.map((row) => (row[k] as string).length)));
  return cells
    .map((row) =>
      row
        .map((cell, k) => cell.padEnd(widths[k] as number))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** One line for each entry, a table for each array of objects. */
export function summaryText(summary: Record<string, unknown>): string {
  const width = Math.max(0, ...Object.keys(summary).map((key) => key.length)) + 2;
  const lines = Object.entries(summary).map(([key, value]) =>
    Array.isArray(value) && value.length > 0 && value.every(isRow)
      ? tableText(value)
      : `${key.padEnd(width)}${shown(value)}`,
  );
  return lines.map((line) => `${line}\n`).join('');
}

function shown(value: unknown): string {
  if (typeof value === 'number') return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)));
  if (isRow(value)) {
    const entries = Object.entries(value).map(([key, each]) => `${key} ${shown(each)}`);
    return entries.join(', ') || 'none';
  }
  if (Array.isArray(value)) return value.map(shown).join(', ') || 'none';
  return value === undefined || value === null ? '-' : String(value);
}
