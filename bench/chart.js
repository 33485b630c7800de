// The chart of a run: the time from logits to gradient, ours and the peers', and our share of the memory bandwidth.
import { box, picture, text } from '../scripts/svg.js';

const WIDTH = 830;
const BAR = { left: 310, width: 340, height: 22, gap: 10 };
const [OURS, PEER, FAINT] = ['#2563eb', '#9ca3af', '#6b7280'];

function bar(y, { label, value, max, caption, color }) {
  const width = Math.max(2, (value / max) * BAR.width);
  const baseline = y + BAR.height / 2 + 4.5;
  return [
    text(BAR.left - 10, baseline, label, { anchor: 'end', size: 13 }),
    box(BAR.left, y, width, BAR.height, color),
    text(BAR.left + width + 8, baseline, caption, { color: FAINT, size: 13 }),
  ];
}

export function chart({ machine, results }) {
  const elements = [];
  let y = 34;
  const panel = (title, note, bars) => {
    elements.push(text(24, y, title, { size: 16, weight: 600 }), text(24, y + 19, note, { color: FAINT }));
    y += 34;
    for (const each of bars) {
      elements.push(...bar(y, each));
      y += BAR.height + BAR.gap;
    }
    y += 26;
  };

  const times = results.filter(({ op }) => op === 'logits -> gradient').toSorted((a, b) => a.ms - b.ms);
  const [{ rows, vocab, threads }] = times;
  // Bars of outliers are cut off, or the other bars would be too short to read.
  const median = times[times.length >> 1].ms;
  const max = Math.max(...times.map(({ ms }) => ms).filter((ms) => ms < 10 * median));
  panel(
    'From logits to their gradient',
    `${rows} \u00d7 ${vocab} float32, ${threads} threads, milliseconds (lower is better)`,
    times.map(({ name, ms }) => ({
      label: name,
      value: Math.min(ms, max),
      max,
      caption: `${ms.toFixed(ms < 100 ? 1 : 0)} ms${ms > max ? ', off the scale' : ''}`,
      color: name === 'sweet-rl' ? OURS : PEER,
    })),
  );
  const shares = results.filter(
    ({ share, name, vocab }) => share !== undefined && name === 'sweet-rl' && vocab === 128_256,
  );
  panel(
    'Share of the measured memory bandwidth',
    'roofline from the same run: streaming reads (forward), in-place updates (backward)',
    shares.map(({ op, dtype, backend, threads, share }) => ({
      label: `${op.includes('Backward') ? 'backward' : 'forward'}, ${dtype}, ${backend}, ${threads} thread${threads > 1 ? 's' : ''}`,
      value: Math.min(share, 1),
      max: 1,
      caption: share.toFixed(2),
      color: OURS,
    })),
  );
  const { cpu, cores, node, date } = machine;
  elements.push(text(24, y - 6, `${cpu}, ${cores} cores, Node ${node}, ${date}`, { color: FAINT }));
  return picture(WIDTH, y + 12, 'sweet-rl compared with other libraries and with the memory bandwidth', elements);
}
