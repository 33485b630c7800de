/** curves.svg: success with intervals on the left, the two training curves on the right. */
import { box, colours, ink, line, picture, polyline, text } from './svg.js';

const width = 880;
const height = 360;
const top = 64;
const bottom = 300;
/** Horizontal lines with percentages from `low` to `high` (shares), and where a share lies. */
function axis(left, right, low, high, step) {
  const y = (share) => bottom - ((share - low) / (high - low)) * (bottom - top);
  const parts = [];
  for (let share = low; share <= high + 1e-9; share += step) {
    parts.push(line(left, y(share), right, y(share)));
    parts.push(text(left - 8, y(share) + 4, `${Math.round(100 * share)} %`, { anchor: 'end', size: 11 }));
  }
  return { y, parts };
}

function bars(scores) {
  const [left, right] = [56, 400];
  const agents = Object.entries(scores);
  const most = Math.max(...agents.flatMap(([, { sampled, greedy }]) => [sampled.success.high, greedy.success.high]));
  const { y, parts } = axis(left, right, 0, Math.min(1, Math.ceil(most * 5) / 5), 0.2);
  const group = (right - left) / 2;
  const bar = Math.min(64, (group - 40) / agents.length);
  ['sampled', 'greedy'].forEach((way, g) => {
    const middle = left + group * (g + 0.5);
    agents.forEach(([, score], i) => {
      const { mean, low, high } = score[way].success;
      const x = middle + (i - agents.length / 2) * bar;
      const centre = x + bar / 2 - 2;
      parts.push(
        box(x, y(mean), bar - 4, bottom - y(mean), colours[i]),
        line(centre, y(low), centre, y(high), ink, 1.5),
        line(centre - 5, y(low), centre + 5, y(low), ink, 1.5),
        line(centre - 5, y(high), centre + 5, y(high), ink, 1.5),
        text(centre, y(high) - 6, (100 * mean).toFixed(1), { anchor: 'middle', size: 11 }),
      );
    });
    parts.push(text(middle, bottom + 20, way, { anchor: 'middle' }));
  });
  parts.push(text(left - 40, 32, 'Success on unseen functions, 95 % intervals', { size: 14, weight: 600 }));
  agents.forEach(([name], i) => {
    const x = left + i * 130;
    parts.push(box(x, bottom + 36, 10, 10, colours[i]), text(x + 16, bottom + 45, name));
  });
  return parts;
}

function smooth(values, points = 60) {
  const half = Math.max(2, Math.round(values.length / 16));
  return Array.from({ length: Math.min(points, values.length) }, (_, i) => {
    const centre = Math.round((i / (points - 1)) * (values.length - 1));
    const part = values.slice(Math.max(0, centre - half), centre + half + 1);
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
}

function curves(byMethod) {
  const [left, right] = [500, 850];
  const { y, parts } = axis(left, right, 0.4, 1, 0.2);
  const dashes = { critic: '5 4', policy: '' };
  Object.values(byMethod).forEach((stages, m) => {
    for (const [stage, curve] of Object.entries(stages)) {
      const values = smooth(curve.map(({ accuracy }) => accuracy));
      const points = values.map((value, i) => [
        left + (i / (values.length - 1)) * (right - left),
        y(Math.max(0.4, value)),
      ]);
      parts.push(polyline(points, colours[m + 1], dashes[stage]));
    }
  });
  parts.push(text(left - 40, 32, 'Pairs in the right order while training', { size: 14, weight: 600 }));
  parts.push(text((left + right) / 2, bottom + 20, 'share of the training steps', { anchor: 'middle' }));
  Object.keys(dashes).forEach((stage, i) => {
    const x = left + i * 130;
    const stroke = `stroke="${ink}" stroke-width="2" stroke-dasharray="${dashes[stage]}"`;
    parts.push(`<path d="M${x} ${bottom + 41}h24" ${stroke}/>`, text(x + 32, bottom + 45, stage));
  });
  return parts;
}

/** @returns {string} */
export const drawChart = ({ scores, curves: byMethod }) =>
  picture(width, height, 'Success, and pairs in the right order while training', [
    ...bars(scores),
    ...curves(byMethod),
  ]);
