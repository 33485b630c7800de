/** curves.svg of the demo: success with intervals on the left, the training curves on the right. */
import { box, ink, line, palette, picture, polyline, scale, text, ticks, yAxis } from '../../scripts/svg.js';

const [width, height, top, bottom] = [880, 360, 64, 300];
const dashesOf = { critic: '5 4', policy: '' };

function bars(scores) {
  const [left, right] = [56, 400];
  const agents = Object.entries(scores);
  const largest = Math.max(...agents.flatMap(([, { sampled, greedy }]) => [sampled.success.high, greedy.success.high]));
  const end = Math.min(1, Math.ceil(largest * 5) / 5);
  const y = scale(0, end, bottom, top);
  const group = (right - left) / 2;
  const bar = Math.min(64, (group - 40) / agents.length);
  const elements = yAxis(y, ticks(0, end, 0.2), left, right);
  ['sampled', 'greedy'].forEach((way, g) => {
    const middle = left + group * (g + 0.5);
    agents.forEach(([, score], i) => {
      const { mean, low, high } = score[way].success;
      const x = middle + (i - agents.length / 2) * bar;
      const centre = x + bar / 2 - 2;
      elements.push(
        box(x, y(mean), bar - 4, bottom - y(mean), palette[i]),
        line(centre, y(low), centre, y(high), ink, 1.5),
        line(centre - 5, y(low), centre + 5, y(low), ink, 1.5),
        line(centre - 5, y(high), centre + 5, y(high), ink, 1.5),
        text(centre, y(high) - 6, (100 * mean).toFixed(1), { anchor: 'middle', size: 11 }),
      );
    });
    elements.push(text(middle, bottom + 20, way, { anchor: 'middle' }));
  });
  elements.push(text(left - 40, 32, 'Success on unseen functions, 95 % intervals', { size: 14, weight: 600 }));
  agents.forEach(([name], i) => {
    const x = left + i * 130;
    elements.push(box(x, bottom + 36, 10, 10, palette[i]), text(x + 16, bottom + 45, name));
  });
  return elements;
}

/** A moving average at `points` places. */
function smooth(values, points = 60) {
  const half = Math.max(2, Math.round(values.length / 16));
  return Array.from({ length: Math.min(points, values.length) }, (_, i) => {
    const centre = Math.round((i / (points - 1)) * (values.length - 1));
    const window = values.slice(Math.max(0, centre - half), centre + half + 1);
    return window.reduce((sum, value) => sum + value, 0) / window.length;
  });
}

function curves(byMethod) {
  const [left, right] = [500, 850];
  const y = scale(0.4, 1, bottom, top);
  const elements = yAxis(y, ticks(0.4, 1, 0.2), left, right);
  Object.values(byMethod).forEach((stages, m) => {
    for (const [stage, curve] of Object.entries(stages)) {
      const values = smooth(curve.map(({ accuracy }) => accuracy));
      const x = scale(0, values.length - 1, left, right);
      const points = values.map((value, i) => [x(i), y(value)]);
      elements.push(polyline(points, palette[m + 1], dashesOf[stage]));
    }
  });
  elements.push(text(left - 40, 32, 'Preference accuracy during training', { size: 14, weight: 600 }));
  elements.push(text((left + right) / 2, bottom + 20, 'share of the training steps', { anchor: 'middle' }));
  Object.entries(dashesOf).forEach(([stage, dashes], i) => {
    const [x, legend] = [left + i * 130, bottom + 41];
    const points = [
      [x, legend],
      [x + 24, legend],
    ];
    elements.push(polyline(points, ink, dashes), text(x + 32, legend + 4, stage));
  });
  return elements;
}

/** @returns {string} */
export const drawChart = ({ scores, curves: byMethod }) =>
  picture(width, height, 'Success, and preference accuracy during training', [...bars(scores), ...curves(byMethod)]);
