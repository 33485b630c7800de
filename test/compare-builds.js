// Whether two builds of the package give the same bits:
//   node test/compare-builds.js OTHER [THIS]        folders of two built packages; THIS is this one by default
// Runs every operation on every backend over the reference cases of test/vectors, hard rows, hard
// batches and updates, in each build, and compares SHA-256 digests of all results. Exits with 1 where one differs.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const VECTORS = join(ROOT, 'test', 'vectors');

/** mulberry32 */
function randomOf(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function bfloat16(values) {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(bits, (u) => (u + 0x7fff + ((u >>> 16) & 1)) >>> 16);
}

/** Random float16 bits of moderate size, with -inf where the float32 values have it. */
const float16 = (values, random) =>
  Uint16Array.from(values, (x) =>
    x === -Infinity ? 0xfc00 : (random() < 0.5 ? 0x8000 : 0) | (0x2c00 + random() * 0x2800),
  );

function* headsOf(random) {
  const noise = (n, scale) => Float32Array.from({ length: n }, () => (random() - 0.5) * 2 * scale);
  const shapes = [
    [1, 1],
    [3, 2],
    [5, 17],
    [7, 65],
    [4, 1023],
    [3, 4099],
    [40, 300],
    [2, 33001],
    [2, 128256],
  ];
  for (const [N, V] of shapes) {
    const logits = noise(N * V, random() < 0.5 ? 8 : 100);
    for (let i = 0; i < N; i++) {
      const kind = i % 5;
      if (kind === 1) for (let v = 0; v < V; v += 3) logits[i * V + v] = -Infinity;
      if (kind === 2) logits[i * V + V - 1] = 3e4;
      if (kind === 3) logits.fill(-Infinity, i * V, i * V + Math.min(V, 1400));
      if (kind === 4) logits[i * V + (V >> 1)] = i % 2 ? NaN : Infinity;
    }
    const labels = Int32Array.from({ length: N }, (_, i) => (i % 7 === 6 ? -100 : Math.floor(random() * V)));
    const mask = Uint8Array.from({ length: N }, (_, i) => (i % 4 === 3 ? 0 : 1));
    for (const temperature of [1, 0.3]) {
      const rest = { labels, mask, temperature };
      yield [`${N}x${V} float32 ${temperature}`, { logits, ...rest }];
      yield [`${N}x${V} bfloat16 ${temperature}`, { logits: bfloat16(logits), dtype: 'bfloat16', ...rest }];
      yield [`${N}x${V} float16 ${temperature}`, { logits: float16(logits, random), dtype: 'float16', ...rest }];
    }
  }
  for (const [N, H, V] of [
    [3, 5, 7],
    [9, 64, 193],
    [70, 130, 500],
    [600, 128, 97],
  ]) {
    const [hidden, weight, bias] = [noise(N * H, 1), noise(V * H, 1), noise(V, 1)];
    const labels = Int32Array.from({ length: N }, (_, i) => (i % 11 === 6 ? -100 : Math.floor(random() * V)));
    const mask = Uint8Array.from({ length: N }, (_, i) => (i % 13 === 3 ? 0 : 1));
    yield [`${N}x${H}x${V} float32`, { hidden, weight, bias, labels, mask }];
    const half = { hidden: bfloat16(hidden), weight: bfloat16(weight), bias: bfloat16(bias), dtype: 'bfloat16' };
    yield [`${N}x${H}x${V} bfloat16`, { ...half, labels, mask, temperature: 0.7 }];
    const f16 = { hidden: float16(hidden, random), weight: float16(weight, random), dtype: 'float16' };
    yield [`${N}x${H}x${V} float16`, { ...f16, labels, mask }];
  }
}

/** Ragged turns with single-token ones over N rows, two trajectories or more where they fit. */
function batchOf(N) {
  const turnOffsets = [0];
  for (let length = 1; turnOffsets.at(-1) < N; length = (length * 3) % 7 || 1) {
    turnOffsets.push(Math.min(N, turnOffsets.at(-1) + length));
  }
  const T = turnOffsets.length - 1;
  const half = Math.max(1, T >> 1);
  return {
    turnOffsets: Int32Array.from(turnOffsets),
    trajectoryOffsets: Int32Array.of(0, half, T),
    turns: T,
    allowEmptyTurns: true,
  };
}

/** The sign of a NaN is the compiler's choice. Of 16 bits, whatever is above the infinity of float16 counts as NaN. */
function unsignNaN(view) {
  const isNaN16 = (x) => (x & 0x7fff) > 0x7c00;
  const isNaNOf = view instanceof Uint16Array ? isNaN16 : Number.isNaN;
  for (let i = 0; i < view.length; i++) if (isNaNOf(view[i])) view[i] = view instanceof Uint16Array ? 0x7fff : NaN;
}

function digestOf(values) {
  const hash = createHash('sha256');
  const add = (value, name) => {
    if (ArrayBuffer.isView(value)) {
      unsignNaN(value);
      hash.update(name).update(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
    } else if (typeof value === 'number') {
      hash.update(name).update(new Uint8Array(Float64Array.of(value).buffer));
    } else if (value !== null && typeof value === 'object') {
      for (const key of Object.keys(value).sort()) add(value[key], `${name}.${key}`);
    } else {
      hash.update(`${name}=${value}`);
    }
  };
  add(values, '');
  return hash.digest('hex');
}

const attempt = (call) => {
  try {
    return call();
  } catch (error) {
    return { error: error.code };
  }
};

/** Every digest of one build on one backend, by case. */
async function digests(folder, backend) {
  const api = await import(pathToFileURL(join(folder, 'dist', 'index.js')).href);
  api.useBackend(backend);
  const random = randomOf(7);
  const found = {};
  for (const [name, head] of headsOf(random)) {
    const N = head.labels.length;
    const [forward, backward] = head.logits
      ? [api.tokenLogps, api.tokenLogpsBackward]
      : [api.linearLogps, api.linearLogpsBackward];
    const result = forward({ ...head, entropy: true });
    const gradLogps = Float32Array.from({ length: N }, () => random() - 0.5);
    found[`${name} forward`] = digestOf(result);
    found[`${name} backward`] = digestOf(backward({ ...head, lse: result.lse, gradLogps }));
    const { partials } = api.partials({ ...head, entropy: true, totalVocab: 200000 });
    found[`${name} shard`] = digestOf(partials);
    found[`${name} merged`] = digestOf(
      attempt(() => api.mergePartials({ ...api.partials(head), ...head, logits: undefined })),
    );
    const { turnOffsets, trajectoryOffsets, turns, allowEmptyTurns } = batchOf(N);
    const refLogps = Float32Array.from({ length: N }, () => -3 * random());
    const common = { ...head, turnOffsets, allowEmptyTurns, chosen: Int32Array.of(0), rejected: Int32Array.of(1) };
    for (const lossType of ['sigmoid', 'hinge', 'ipo']) {
      for (const normalization of ['turn-mean', 'token-mean', 'sum']) {
        const options = { ...common, trajectoryOffsets, lossType, normalization, refLogps };
        found[`${name} critic ${lossType} ${normalization}`] = digestOf(attempt(() => api.criticUpdate(options)));
      }
      const reference = head.logits
        ? { refLogits: head.logits }
        : { refHidden: head.hidden, refWeight: head.weight, ...(head.bias && { refBias: head.bias }) };
      const options = { ...common, ...reference, lossType, beta: 0.3 };
      if (turns > 1) found[`${name} policy ${lossType}`] = digestOf(attempt(() => api.policyUpdate(options)));
    }
    const desirable = Uint8Array.from({ length: turns }, (_, t) => t % 2);
    for (const lossType of ['apo_zero_unpaired', 'bco']) {
      const options = { ...head, turnOffsets, allowEmptyTurns, refLogps, desirable, lossType };
      found[`${name} unpaired ${lossType}`] = digestOf(attempt(() => api.unpairedUpdate(options)));
    }
    const logps = { logps: result.logps, refLogps, mask: head.mask, turnOffsets, allowEmptyTurns };
    found[`${name} advantages`] = digestOf(attempt(() => api.turnAdvantages(logps)));
  }
  for (const folder of readdirSync(VECTORS)) {
    for (const file of readdirSync(join(VECTORS, folder))) {
      const given = vectorOf(join(VECTORS, folder, file));
      found[`${folder}/${file}`] = digestOf(attempt(() => VECTOR_CALLS[folder](api, given)));
    }
  }
  return found;
}

const CLASSES = {
  F32: Float32Array,
  F64: Float64Array,
  I32: Int32Array,
  U8: Uint8Array,
  BF16: Uint16Array,
  F16: Uint16Array,
};
const DTYPES = { BF16: { dtype: 'bfloat16' }, F16: { dtype: 'float16' } };

/** The inputs of a reference case by the names of the options. */
function vectorOf(path) {
  const bytes = readFileSync(path);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const { __metadata__: metadata, ...tensors } = JSON.parse(bytes.subarray(8, start));
  const { op, options: given } = JSON.parse(metadata.case);
  // Of a folder with cases of several operations.
  const options = { ...given, ...(path.includes('pair_losses') && { op }) };
  for (const [name, { dtype, data_offsets: offsets }] of Object.entries(tensors)) {
    if (name.startsWith('expected.')) continue;
    const raw = new Uint8Array(bytes.subarray(start + offsets[0], start + offsets[1])).buffer;
    options[name.replace(/_(.)/g, (_, letter) => letter.toUpperCase())] = new CLASSES[dtype](raw);
    if (name === 'logits' || name === 'hidden') Object.assign(options, DTYPES[dtype]);
  }
  return options;
}

const forwardAndBackward =
  (forward, backward) =>
  ({ gradLogps, ...given }) => {
    const result = forward({ ...given, entropy: true });
    return { ...result, ...backward({ ...given, lse: result.lse, gradLogps }) };
  };
const VECTOR_CALLS = {
  token_logps: (api, given) => forwardAndBackward(api.tokenLogps, api.tokenLogpsBackward)(given),
  linear_logps: (api, given) => forwardAndBackward(api.linearLogps, api.linearLogpsBackward)(given),
  linear_logps_options: (api, { frozenWeight, frozenHidden, gradLogps, ...given }) =>
    attempt(() => {
      const result = api.linearLogps({ ...given, entropy: true });
      const frozen = { frozenWeight, frozenHidden };
      return { ...result, ...api.linearLogpsBackward({ ...given, ...frozen, lse: result.lse, gradLogps }) };
    }),
  turn_advantages: (api, { gradAdvantages, trajectoryOffsets: _, ...given }) => {
    const { logps: __, refLogps: ___, ...turns } = given;
    return [api.turnAdvantages(given), api.turnAdvantagesBackward({ ...turns, gradAdvantages })];
  },
  trajectory_preference: (api, given) => api.trajectoryPreferenceLoss(given),
  filtered_nll: (api, given) => api.filteredNll(given),
  turn_preference: (api, given) => api.turnPreferenceLoss(given),
  critic_update: (api, given) => api.criticUpdate(given),
  pair_losses: (api, { op, logPowerSums, ...given }) => {
    const squares = logPowerSums &&
      op !== 'policy_update' && { sumSquaredProbs: Float32Array.from(logPowerSums, Math.exp) };
    return api[PAIR_LOSSES[op]]({ ...given, ...squares });
  },
};
const PAIR_LOSSES = {
  turn_preference: 'turnPreferenceLoss',
  trajectory_preference: 'trajectoryPreferenceLoss',
  unpaired_preference: 'unpairedPreferenceLoss',
  policy_update: 'policyUpdate',
};

if (process.argv[2] === '--digests') {
  console.log(JSON.stringify(await digests(process.argv[3], process.argv[4])));
} else {
  const [other, mine = ROOT] = process.argv.slice(2).map((path) => resolve(path));
  if (other === undefined) throw new Error('node test/compare-builds.js OTHER [THIS]');
  const { backends } = await import(pathToFileURL(join(mine, 'dist', 'index.js')).href);
  let [same, different] = [0, 0];
  for (const { name } of backends().filter(({ available, name: each }) => available && each !== 'cuda')) {
    const [a, b] = [other, mine].map((folder) =>
      JSON.parse(
        execFileSync(process.execPath, [fileURLToPath(import.meta.url), '--digests', folder, name], {
          encoding: 'utf8',
          maxBuffer: 2 ** 28,
        }),
      ),
    );
    for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
      if (a[key] === b[key]) same++;
      else {
        different++;
        console.log(`${name}: ${key} differs`);
      }
    }
    console.log(`${name}: ${Object.keys(b).length} digests compared`);
  }
  console.log(`${same} the same, ${different} different`);
  process.exitCode = different === 0 ? 0 : 1;
}
