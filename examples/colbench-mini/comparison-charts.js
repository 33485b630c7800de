/** The comparison's pictures. */
import { kinds } from './dialogue.js';
import { average, meanOverSeeds } from './statistics.js';
import { colours, dot, ink, line, picture, polyline, text } from './svg.js';

const width = 880;
const labelWidth = 190;

/** Methods in the order of the report, with a colour each. */
const coloured = (names) => names.map((name, i) => ({ name, colour: colours[i % colours.length] }));

/** A vertical grid with labels below: where a value lies. */
function scale(left, right, top, bottom, values, label) {
  const [low, high] = [values[0], values[values.length - 1]];
  const x = (value) => left + ((Math.min(high, Math.max(low, value)) - low) / (high - low)) * (right - left);
  const parts = values.flatMap((value) => [
    line(x(value), top, x(value), bottom),
    text(x(value), bottom + 16, label(value), { anchor: 'middle', size: 11 }),
  ]);
  return { x, parts };
}

const steps = (low, high, step) =>
  Array.from({ length: Math.round((high - low) / step) + 1 }, (_, i) => low + i * step);
const percentLabel = (value) => `${Math.round(100 * value)} %`;

/** Success by method: one small dot a seed, their mean, and its interval. */
export function successChart(names, runs) {
  const rowHeight = 34;
  const [left, right, top] = [labelWidth, width - 24, 56];
  const bottom = top + rowHeight * names.length;
  const valuesOf = (name, way) => runs.map(({ scores }) => scores[name][way].success.mean);
  const most = Math.max(
    ...names
      .flatMap((name) => ['sampled', 'greedy'].map((way) => valuesOf(name, way)))
      .map((values) => (values.length > 1 ? meanOverSeeds(values).high : values[0])),
  );
  const { x, parts } = scale(
    left,
    right,
    top,
    bottom,
    steps(0, Math.min(1, Math.ceil(most * 10) / 10), 0.1),
    percentLabel,
  );
  parts.push(
    text(16, 28, `Success on unseen functions, ${runs.length} seeds, 95 % intervals of the mean`, {
      size: 14,
      weight: 600,
    }),
  );
  coloured(names).forEach(({ name, colour }, row) => {
    const middle = top + rowHeight * (row + 0.5);
    parts.push(text(left - 12, middle + 4, name, { anchor: 'end', weight: name === 'SWEET-RL' ? 600 : 400 }));
    ['sampled', 'greedy'].forEach((way, w) => {
      const y = middle + (w === 0 ? -6 : 7);
      const values = valuesOf(name, way);
      for (const value of values) parts.push(dot(x(value), y, 2.2, colour, { opacity: 0.55 }));
      if (values.length > 1) {
        const { mean, low, high } = meanOverSeeds(values);
        parts.push(line(x(low), y, x(high), y, colour, 1.5), dot(x(mean), y, 4.5, colour, { hollow: w === 1 }));
      } else {
        parts.push(dot(x(values[0]), y, 4.5, colour, { hollow: w === 1 }));
      }
    });
  });
  const legend = bottom + 40;
  parts.push(
    dot(left + 6, legend, 4.5, ink),
    text(left + 18, legend + 4, 'sampled'),
    dot(left + 96, legend, 4.5, ink, { hollow: true }),
    text(left + 108, legend + 4, 'greedy'),
    dot(left + 180, legend, 2.2, ink, { opacity: 0.55 }),
    text(left + 190, legend + 4, 'one seed'),
  );
  return picture(width, legend + 20, 'Success by method', parts);
}

/** Pairs in the right order while training, critics on the left and policies on the right, means over seeds. */
export function curvesChart(names, runs) {
  const [top, bottom] = [72, 300];
  const parts = [text(16, 28, 'Pairs in the right order while training', { size: 14, weight: 600 })];
  const panels = { critic: [64, 424], policy: [496, 856] };
  for (const [stage, [left, right]] of Object.entries(panels)) {
    const y = (share) => bottom - ((Math.max(0.4, share) - 0.4) / 0.6) * (bottom - top);
    for (const share of steps(0.4, 1, 0.2)) {
      parts.push(line(left, y(share), right, y(share)));
      parts.push(text(left - 8, y(share) + 4, percentLabel(share), { anchor: 'end', size: 11 }));
    }
    parts.push(text(left, top - 14, stage === 'critic' ? 'critic' : 'policy', { weight: 600 }));
    parts.push(text((left + right) / 2, bottom + 20, 'share of the training steps', { anchor: 'middle' }));
    for (const { name, colour } of coloured(names)) {
      const curves = runs.map((run) => run.curves[name]?.[stage]?.accuracy).filter((curve) => curve !== undefined);
      if (curves.length === 0) continue;
      const points = curves[0].map((_, i) => [
        left + (i / (curves[0].length - 1)) * (right - left),
        y(smooth(curves, i)),
      ]);
      parts.push(polyline(points, colour));
    }
  }
  const drawn = coloured(names).filter(({ name }) => runs.some((run) => run.curves[name]?.policy.accuracy));
  drawn.forEach(({ name, colour }, i) => {
    const [x, y] = [64 + (i % 5) * 160, bottom + 48 + 20 * Math.floor(i / 5)];
    parts.push(line(x, y, x + 20, y, colour, 2), text(x + 26, y + 4, name));
  });
  return picture(
    width,
    bottom + 76 + 20 * Math.floor((drawn.length - 1) / 5),
    'Pairs in the right order while training',
    parts,
  );
}

/** A mean over seeds and over neighbouring points. */
function smooth(curves, i, reach = 3) {
  return average(curves.flatMap((curve) => curve.slice(Math.max(0, i - reach), i + reach + 1)));
}

const kindNames = {
  useful: 'on an attribute of the function',
  absent: 'on one that it lacks',
  repeated: 'repeated',
  smallTalk: 'small talk',
  unclear: 'names no topic',
};

/** What each critic's advantages make of useful and of useless turns, means over seeds of means and deviations. */
export function advantagesChart(names, runs) {
  const rowHeight = 84;
  const [left, right, top] = [labelWidth, width - 24, 56];
  const critics = names.filter((name) => runs.some(({ curves }) => curves[name]?.critic));
  const bottom = top + rowHeight * critics.length;
  const { x, parts } = scale(left, right, top, bottom, steps(-3, 3, 1), String);
  parts.push(
    text(16, 28, 'Advantage of a question above the mean of its turn, in standard deviations', {
      size: 14,
      weight: 600,
    }),
    line(x(0), top, x(0), bottom, ink, 1),
  );
  critics.forEach((name, row) => {
    const middle = top + rowHeight * (row + 0.5);
    parts.push(text(left - 12, middle + 4, name, { anchor: 'end', weight: name === 'SWEET-RL' ? 600 : 400 }));
    kinds.forEach((kind, k) => {
      const found = runs.map(({ diagnoses }) => diagnoses[name]?.advantages[kind]).filter((each) => each !== undefined);
      if (found.length === 0) return;
      const [mean, deviation] = ['mean', 'deviation'].map((key) => average(found.map((each) => each[key])));
      const y = middle + (k - (kinds.length - 1) / 2) * 14;
      const colour = colours[k + 1];
      parts.push(line(x(mean - deviation), y, x(mean + deviation), y, colour, 2), dot(x(mean), y, 4, colour));
    });
  });
  kinds.forEach((kind, k) => {
    const place = left - 60 + [0, 210, 370, 470, 570][k];
    parts.push(dot(place, bottom + 40, 4, colours[k + 1]), text(place + 10, bottom + 44, kindNames[kind]));
  });
  return picture(width, bottom + 64, 'Advantages of useful and useless questions', parts);
}

/** Success while one thing is varied: a panel each, a line per method, solid for sampled and dashed for greedy. */
export function sweepChart(names, sweep) {
  const [top, bottom, gap] = [72, 300, 72];
  const parts = [text(16, 28, 'Success on validation tasks while one thing is varied', { size: 14, weight: 600 })];
  const panel = (width - 24 - gap * sweep.length) / sweep.length;
  const y = (share) => bottom - (share / 0.8) * (bottom - top);
  const drawn = coloured(names).filter(({ name }) => sweep.some(({ values }) => values[0].outcomes[name]));
  sweep.forEach(({ title, values }, v) => {
    const left = gap * (v + 1) + panel * v;
    const x = (i) => left + (i / (values.length - 1)) * panel;
    for (const share of steps(0, 0.8, 0.2)) {
      parts.push(line(left, y(share), left + panel, y(share)));
      parts.push(text(left - 8, y(share) + 4, percentLabel(share), { anchor: 'end', size: 11 }));
    }
    parts.push(text(left - 32, top - 14, title, { weight: 600 }));
    parts.push(...values.map(({ label }, i) => text(x(i), bottom + 18, label, { anchor: 'middle', size: 11 })));
    for (const { name, colour } of drawn.filter(({ name }) => values[0].outcomes[name])) {
      ['sampled', 'greedy'].forEach((way, w) => {
        const points = values.map(({ outcomes }, i) => [x(i), y(average(outcomes[name].map((seed) => seed[way])))]);
        parts.push(polyline(points, colour, w === 0 ? '' : '5 4'));
        for (const [at, height] of points) parts.push(dot(at, height, 3.5, colour, { hollow: w === 1 }));
      });
    }
  });
  const legend = bottom + 48;
  drawn.forEach(({ name, colour }, i) => {
    parts.push(dot(gap + 160 * i, legend, 4.5, colour), text(gap + 160 * i + 10, legend + 4, name));
  });
  const right = gap + 160 * drawn.length;
  parts.push(line(right, legend, right + 24, legend, ink, 2), text(right + 30, legend + 4, 'sampled'));
  parts.push(
    polyline(
      [
        [right + 96, legend],
        [right + 120, legend],
      ],
      ink,
      '5 4',
    ),
    text(right + 126, legend + 4, 'greedy'),
  );
  return picture(width, legend + 24, 'Success while one thing is varied', parts);
}
