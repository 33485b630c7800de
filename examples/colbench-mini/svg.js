/** Pieces of pictures. */

export const ink = '#1f2933';
const faint = '#d9dee4';
export const colours = [
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

const escaped = (words) => words.replace(/[&<>]/g, (sign) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[sign]);
export const at = (number) => number.toFixed(1);
export const line = (x1, y1, x2, y2, colour = faint, strokeWidth = 1) =>
  `<path d="M${at(x1)} ${at(y1)}L${at(x2)} ${at(y2)}" stroke="${colour}" stroke-width="${strokeWidth}"/>`;
export const text = (x, y, words, { anchor = 'start', size = 12, weight = 400 } = {}) => {
  const font = `font-size="${size}" font-weight="${weight}"`;
  return `<text x="${at(x)}" y="${at(y)}" text-anchor="${anchor}" ${font}>${escaped(words)}</text>`;
};
export const box = (x, y, boxWidth, boxHeight, colour) => {
  const size = `width="${at(boxWidth)}" height="${at(boxHeight)}"`;
  return `<rect x="${at(x)}" y="${at(y)}" ${size} rx="2" fill="${colour}"/>`;
};
export const dot = (x, y, radius, colour, { hollow = false, opacity = 1 } = {}) => {
  const look = hollow ? `fill="#ffffff" stroke="${colour}" stroke-width="1.6"` : `fill="${colour}"`;
  return `<circle cx="${at(x)}" cy="${at(y)}" r="${radius}" ${look} opacity="${opacity}"/>`;
};
export const polyline = (points, colour, dashes = '') => {
  const stroke = `stroke="${colour}" stroke-width="2" stroke-dasharray="${dashes}"`;
  return `<polyline points="${points.map(([x, y]) => `${at(x)},${at(y)}`).join(' ')}" fill="none" ${stroke}/>`;
};

/** @param {number} width @param {number} height @param {string} title @param {string[]} parts */
export function picture(width, height, title, parts) {
  const look = `viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" fill="${ink}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${look}>
<title>${escaped(title)}</title>
<rect width="${width}" height="${height}" fill="#ffffff"/>
${parts.join('\n')}
</svg>
`;
}
