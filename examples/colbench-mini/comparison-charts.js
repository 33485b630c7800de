/** The charts of the comparison. */
import { dot, ink, line, palette, picture, polyline, scale, text, ticks, xAxis, yAxis } from '../../scripts/svg.js';
import { kinds } from './dialogue.js';
import { average, meanOverSeeds } from './statistics.js';

const width = 880;
const labelWidth = 190;
const titleStyle = { size: 14, weight: 600 };
const ways = ['sampled', 'greedy'];

/** Methods in the order of the report, with a color each. */
const colored = (names) => names.map((name, i) => ({ name, color: palette[i % palette.length] }));

const rowLabel = (y, name) =>
  text(labelWidth - 12, y + 4, name, { anchor: 'end', weight: name === 'SWEET-RL' ? 600 : 400 });

/** Success by method: a small dot per seed, their mean, and its interval. */
export function successChart(names, runs) {
  const rowHeight = 34;
  const [left, right, top] = [labelWidth, width - 24, 56];
  const bottom = top + rowHeight * names.length;
  const valuesOf = (name, way) => runs.map(({ scores }) => scores[name][way].success.mean);
  const largest = Math.max(
    ...names
      .flatMap((name) => ways.map((way) => valuesOf(name, way)))
      .map((values) => (values.length > 1 ? meanOverSeeds(values).high : values[0])),
  );
  const end = Math.min(1, Math.ceil(largest * 10) / 10);
  const x = scale(0, end, left, right);
  const title = `Success on unseen functions, ${runs.length} seeds, 95 % intervals of the mean`;
  const elements = [...xAxis(x, ticks(0, end, 0.1), top, bottom), text(16, 28, title, titleStyle)];
  colored(names).forEach(({ name, color }, row) => {
    const middle = top + rowHeight * (row + 0.5);
    elements.push(rowLabel(middle, name));
    ways.forEach((way, w) => {
      const y = middle + (w === 0 ? -6 : 7);
      const values = valuesOf(name, way);
      for (const value of values) elements.push(dot(x(value), y, 2.2, color, { opacity: 0.55 }));
      if (values.length > 1) {
        const { mean, low, high } = meanOverSeeds(values);
        elements.push(line(x(low), y, x(high), y, color, 1.5), dot(x(mean), y, 4.5, color, { hollow: w === 1 }));
      } else {
        elements.push(dot(x(values[0]), y, 4.5, color, { hollow: w === 1 }));
      }
    });
  });
  const legend = bottom + 40;
  elements.push(
    dot(left + 6, legend, 4.5, ink),
    text(left + 18, legend + 4, 'sampled'),
    dot(left + 96, legend, 4.5, ink, { hollow: true }),
    text(left + 108, legend + 4, 'greedy'),
    dot(left + 180, legend, 2.2, ink, { opacity: 0.55 }),
    text(left + 190, legend + 4, 'one seed'),
  );
  return picture(width, legend + 20, 'Success by method', elements);
}

/** Preference accuracy during training: critics on the left, policies on the right, means over seeds. */
export function curvesChart(names, runs) {
  const [top, bottom] = [72, 300];
  const title = 'Preference accuracy during training';
  const elements = [text(16, 28, title, titleStyle)];
  const panels = { critic: [64, 424], policy: [496, 856] };
  for (const [stage, [left, right]] of Object.entries(panels)) {
    const y = scale(0.4, 1, bottom, top);
    elements.push(...yAxis(y, ticks(0.4, 1, 0.2), left, right), text(left, top - 14, stage, { weight: 600 }));
    elements.push(text((left + right) / 2, bottom + 20, 'share of the training steps', { anchor: 'middle' }));
    for (const { name, color } of colored(names)) {
      const curves = runs.map((run) => run.curves[name]?.[stage]?.accuracy).filter((curve) => curve !== undefined);
      if (curves.length === 0) continue;
      const x = scale(0, curves[0].length - 1, left, right);
      elements.push(
        polyline(
          curves[0].map((_, i) => [x(i), y(smooth(curves, i))]),
          color,
        ),
      );
    }
  }
  const drawn = colored(names).filter(({ name }) => runs.some((run) => run.curves[name]?.policy.accuracy));
  drawn.forEach(({ name, color }, i) => {
    const [x, y] = [64 + (i % 5) * 160, bottom + 48 + 20 * Math.floor(i / 5)];
    elements.push(line(x, y, x + 20, y, color, 2), text(x + 26, y + 4, name));
  });
  return picture(width, bottom + 76 + 20 * Math.floor((drawn.length - 1) / 5), title, elements);
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

/** Each critic's advantages by kind of question: means over seeds of the means and of the standard deviations. */
export function advantagesChart(names, runs) {
  const rowHeight = 84;
  const [left, right, top] = [labelWidth, width - 24, 56];
  const critics = names.filter((name) => runs.some(({ curves }) => curves[name]?.critic));
  const bottom = top + rowHeight * critics.length;
  const x = scale(-3, 3, left, right);
  const elements = [
    ...xAxis(x, ticks(-3, 3, 1), top, bottom, String),
    text(16, 28, 'Advantage of a question above the mean of its turn, in standard deviations', titleStyle),
    line(x(0), top, x(0), bottom, ink, 1),
  ];
  critics.forEach((name, row) => {
    const middle = top + rowHeight * (row + 0.5);
    elements.push(rowLabel(middle, name));
    kinds.forEach((kind, k) => {
      const found = runs.map(({ diagnoses }) => diagnoses[name]?.advantages[kind]).filter((each) => each !== undefined);
      if (found.length === 0) return;
      const [mean, deviation] = ['mean', 'deviation'].map((key) => average(found.map((each) => each[key])));
      const y = middle + (k - (kinds.length - 1) / 2) * 14;
      const color = palette[k + 1];
      elements.push(line(x(mean - deviation), y, x(mean + deviation), y, color, 2), dot(x(mean), y, 4, color));
    });
  });
  kinds.forEach((kind, k) => {
    const place = left - 60 + [0, 210, 370, 470, 570][k];
    elements.push(dot(place, bottom + 40, 4, palette[k + 1]), text(place + 10, bottom + 44, kindNames[kind]));
  });
  return picture(width, bottom + 64, 'Advantages of useful and useless questions', elements);
}

/**
 * Success while one setting varies: a panel for each setting, a line per method, solid for sampled and dashed for
 * greedy.
 */
export function sweepChart(names, sweep) {
  const [top, bottom, gap] = [72, 300, 72];
  const elements = [text(16, 28, 'Success on validation tasks while one setting varies', titleStyle)];
  const panel = (width - 24 - gap * sweep.length) / sweep.length;
  const y = scale(0, 0.8, bottom, top);
  const drawn = colored(names).filter(({ name }) => sweep.some(({ values }) => values[0].outcomes[name]));
  sweep.forEach(({ title, values }, v) => {
    const left = gap * (v + 1) + panel * v;
    const x = scale(0, values.length - 1, left, left + panel);
    elements.push(...yAxis(y, ticks(0, 0.8, 0.2), left, left + panel));
    elements.push(text(left - 32, top - 14, title, { weight: 600 }));
    elements.push(...values.map(({ label }, i) => text(x(i), bottom + 18, label, { anchor: 'middle', size: 11 })));
    for (const { name, color } of drawn.filter(({ name }) => values[0].outcomes[name])) {
      ways.forEach((way, w) => {
        const points = values.map(({ outcomes }, i) => [x(i), y(average(outcomes[name].map((seed) => seed[way])))]);
        elements.push(polyline(points, color, w === 0 ? '' : '5 4'));
        for (const [at, height] of points) elements.push(dot(at, height, 3.5, color, { hollow: w === 1 }));
      });
    }
  });
  const legend = bottom + 48;
  drawn.forEach(({ name, color }, i) => {
    elements.push(dot(gap + 160 * i, legend, 4.5, color), text(gap + 160 * i + 10, legend + 4, name));
  });
  ways.forEach((way, w) => {
    const left = gap + 160 * drawn.length + 96 * w;
    const points = [
      [left, legend],
      [left + 24, legend],
    ];
    elements.push(polyline(points, ink, w === 0 ? '' : '5 4'), text(left + 30, legend + 4, way));
  });
  return picture(width, legend + 24, 'Success while one setting varies', elements);
}
