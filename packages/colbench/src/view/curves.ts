/** A curve as SVG. */
import { Html, html } from './html.js';

const [width, height, margin] = [420, 140, 34];

/** A curve of finite values over steps 1 to n, with its range; nothing where there is no value. */
export function curve(title: string, values: readonly number[]): Html {
  const finite = values.filter(Number.isFinite);
  if (finite.length === 0) return new Html('');
  const [low, high] = [Math.min(...finite), Math.max(...finite)];
  const span = high > low ? high - low : 1;
  const x = (i: number) => margin + ((width - 2 * margin) * i) / Math.max(1, values.length - 1);
  const y = (value: number) => height - 20 - ((height - 40) * (value - low)) / span;
  const points = values.flatMap((value, i) =>
    Number.isFinite(value) ? [`${x(i).toFixed(1)},${y(value).toFixed(1)}`] : [],
  );
  const shown = (value: number) => String(Number(value.toPrecision(4)));
  return html`<svg viewBox="0 0 ${width} ${height}" width="${width}" role="img"><title>${title}</title>
<text x="${margin}" y="12">${title}</text>
<text x="2" y="${y(high) + 4}">${shown(high)}</text><text x="2" y="${y(low) + 4}">${shown(low)}</text>
<polyline points="${points.join(' ')}"/><text x="${width - margin}" y="${height - 4}">${values.length}</text></svg>`;
}
