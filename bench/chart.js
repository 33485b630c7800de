// The chart of a run: the time from logits to gradient, ours and the peers', and our share of the memory bandwidth.

const WIDTH = 830;
const BAR = { left: 310, width: 340, height: 22, gap: 10 };
const COLORS = { ours: '#2563eb', peer: '#9ca3af', text: '#1f2937', faint: '#6b7280' };

const escapeXml = (text) => String(text).replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c]);

function text(x, y, content, { anchor = 'start', size = 13, color = COLORS.text, weight = 400 } = {}) {
  return `<text x="${x}" y="${y}" text-anchor="${anchor}" font-size="${size}" fill="${color}" font-weight="${weight}">${escapeXml(content)}</text>`;
}

function bar(y, { label, value, max, caption, color }) {
  const width = Math.max(2, (value / max) * BAR.width);
  const middle = y + BAR.height / 2 + 4.5;
  return [
    text(BAR.left - 10, middle, label, { anchor: 'end' }),
    `<rect x="${BAR.left}" y="${y}" width="${width.toFixed(1)}" height="${BAR.height}" rx="3" fill="${color}"/>`,
    text(BAR.left + width + 8, middle, caption, { color: COLORS.faint }),
  ].join('\n');
}

export function chart({ machine, results }) {
  const parts = [];
  let y = 34;
  const heading = (title, note) => {
    parts.push(
      text(24, y, title, { size: 16, weight: 600 }),
      text(24, y + 19, note, { size: 12, color: COLORS.faint }),
    );
    y += 34;
  };
  const bars = (rows) => {
    for (const row of rows) {
      parts.push(bar(y, row));
      y += BAR.height + BAR.gap;
    }
    y += 26;
  };

  const times = results.filter(({ op }) => op === 'logits -> gradient').toSorted((a, b) => a.ms - b.ms);
  const [{ rows, vocab, threads }] = times;
  heading(
    'From logits to their gradient',
    `${rows} \u00d7 ${vocab} float32, ${threads} threads, milliseconds (lower is better)`,
  );
  // Bars of outliers are cut off, or the other bars would be too short to read.
  const median = times[times.length >> 1].ms;
  const max = Math.max(...times.map(({ ms }) => ms).filter((ms) => ms < 10 * median));
  bars(
    times.map(({ name, ms }) => ({
      label: name,
      value: Math.min(ms, max),
      max,
      caption: `${ms.toFixed(ms < 100 ? 1 : 0)} ms${ms > max ? ', off the scale' : ''}`,
      color: name === 'sweet-rl' ? COLORS.ours : COLORS.peer,
    })),
  );

  const shares = results.filter(
    ({ share, name, vocab }) => share !== undefined && name === 'sweet-rl' && vocab === 128_256,
  );
  heading(
    'Share of the measured memory bandwidth',
    'roofline from the same run: streaming reads (forward), in-place updates (backward)',
  );
  bars(
    shares.map(({ op, dtype, backend, threads, share }) => ({
      label: `${op.includes('Backward') ? 'backward' : 'forward'}, ${dtype}, ${backend}, ${threads} thread${threads > 1 ? 's' : ''}`,
      value: Math.min(share, 1),
      max: 1,
      caption: share.toFixed(2),
      color: COLORS.ours,
    })),
  );
  parts.push(
    text(24, y - 6, `${machine.cpu}, ${machine.cores} cores, Node ${machine.node}, ${machine.date}`, {
      size: 12,
      color: COLORS.faint,
    }),
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y + 12}" font-family="system-ui, sans-serif">
<title>sweet-rl compared with other libraries and with the memory bandwidth</title>
<rect width="100%" height="100%" fill="white"/>
${parts.join('\n')}
</svg>
`;
}
