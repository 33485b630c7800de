/** Elements of charts as SVG text. Coordinates are in pixels, rounded to one decimal. */

export const ink = '#1f2933';
export const gridColor = '#d9dee4';
/** Distinct colors for series, in this order. */
export const palette = [
  '#8a94a0',
  '#1768ac',
  '#d1495b',
  '#3a7d44',
  '#8d6a9f',
  '#c77f1a',
  '#00838f',
  '#6d4c41',
  '#5b6ee1',
  '#9aa02c',
];

const px = (number) => number.toFixed(1);
const escaped = (content) => content.replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c]);

export function text(x, y, content, { anchor = 'start', size = 12, weight = 400, color } = {}) {
  const fill = color ? ` fill="${color}"` : '';
  const style = `text-anchor="${anchor}" font-size="${size}" font-weight="${weight}"${fill}`;
  return `<text x="${px(x)}" y="${px(y)}" ${style}>${escaped(content)}</text>`;
}

export const line = (x1, y1, x2, y2, color = gridColor, width = 1) =>
  `<path d="M${px(x1)} ${px(y1)}L${px(x2)} ${px(y2)}" stroke="${color}" stroke-width="${width}"/>`;

export function polyline(points, color, dashes = '') {
  const stroke = `stroke="${color}" stroke-width="2" stroke-dasharray="${dashes}"`;
  return `<polyline points="${points.map(([x, y]) => `${px(x)},${px(y)}`).join(' ')}" fill="none" ${stroke}/>`;
}

export function box(x, y, width, height, color) {
  return `<rect x="${px(x)}" y="${px(y)}" width="${px(width)}" height="${px(height)}" rx="2" fill="${color}"/>`;
}

export function dot(x, y, radius, color, { hollow = false, opacity = 1 } = {}) {
  const style = hollow ? `fill="#ffffff" stroke="${color}" stroke-width="1.6"` : `fill="${color}"`;
  return `<circle cx="${px(x)}" cy="${px(y)}" r="${radius}" ${style} opacity="${opacity}"/>`;
}

/** A linear scale from [low, high] to pixels [from, to]; values outside are drawn at the ends. */
export const scale = (low, high, from, to) => (value) =>
  from + ((Math.min(high, Math.max(low, value)) - low) / (high - low)) * (to - from);

/** Values from low to high, both included. */
export const ticks = (low, high, step) =>
  Array.from({ length: Math.round((high - low) / step) + 1 }, (_, i) => low + i * step);

export const percentLabel = (share) => `${Math.round(100 * share)} %`;

/** Grid lines of a horizontal axis, labelled below. */
export const xAxis = (x, values, top, bottom, label = percentLabel) =>
  values.flatMap((value) => [
    line(x(value), top, x(value), bottom),
    text(x(value), bottom + 16, label(value), { anchor: 'middle', size: 11 }),
  ]);

/** Grid lines of a vertical axis, labelled on the left. */
export const yAxis = (y, values, left, right, label = percentLabel) =>
  values.flatMap((value) => [
    line(left, y(value), right, y(value)),
    text(left - 8, y(value) + 4, label(value), { anchor: 'end', size: 11 }),
  ]);

/** A whole picture. @param {number} width @param {number} height @param {string} title @param {string[]} elements */
export function picture(width, height, title, elements) {
  const style = `viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" fill="${ink}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${style}>
<title>${escaped(title)}</title>
<rect width="${width}" height="${height}" fill="#ffffff"/>
${elements.join('\n')}
</svg>
`;
}
