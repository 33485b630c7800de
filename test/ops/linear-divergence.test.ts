/** linearDivergence and linearDivergenceBackward against the oracle, on every backend. */
import { type LinearDivergenceOptions, linearDivergence, linearDivergenceBackward } from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { expectClose, expectSameBits } from '../helpers/compare.ts';
import { type DivergenceCase, expectedOf, expectedOfTopK, KINDS, type TopK, topKOf } from '../helpers/divergence.ts';
import { forEachBackend, underThreadCounts } from '../helpers/machine.ts';
import { Random } from '../helpers/random.ts';
import { type DType, type Stored, store } from '../helpers/storage.ts';
import { vectorCases } from '../helpers/vectors.ts';
import type { Kind } from '../reference/divergence.ts';
import { linearLogits, projectGradient } from '../reference/linear-logps.ts';

const nameOf = ({ divergence, jsdBeta }: Kind) => (jsdBeta ? `${divergence} ${jsdBeta}` : divergence);

interface Side {
  hidden: Stored;
  weight: Stored;
  bias?: Stored;
  values: { hidden: Float64Array; weight: Float64Array; bias?: Float64Array };
}

interface Shape {
  N: number;
  V: number;
  H: number;
  teacherH: number;
  dtype: DType;
  teacherDtype: DType;
  bias?: boolean;
  mask?: Uint8Array;
  temperature?: number;
  teacherTemperature?: number;
}

function sideOf(random: Random, N: number, V: number, H: number, dtype: DType, withBias: boolean): Side {
  const hidden = store(random.normals(N * H), dtype);
  const weight = store(random.normals(V * H, 3 / Math.sqrt(H)), dtype);
  const bias = withBias ? store(random.normals(V), dtype) : undefined;
  return {
    ...{ hidden: hidden.data, weight: weight.data, ...(bias && { bias: bias.data }) },
    values: { hidden: hidden.values, weight: weight.values, ...(bias && { bias: bias.values }) },
  };
}

function caseOf(shape: Shape) {
  const { N, V, H, teacherH, dtype, teacherDtype, bias = false, ...options } = shape;
  const random = new Random(N + 31 * V + 7 * H);
  const student = sideOf(random, N, V, H, dtype, bias);
  const teacher = sideOf(random, N, V, teacherH, teacherDtype, bias);
  // A masked row is never read.
  for (const [i, kept] of (options.mask ?? []).entries()) {
    if (kept === 0) student.hidden.fill(dtype === 'float32' ? NaN : 0x7fff, i * H, (i + 1) * H);
  }
  const gradDivergence = Float32Array.from(random.normals(N));
  const labels = new Int32Array(N);
  const rows: DivergenceCase = {
    ...{ name: '', N, V, dtype, teacherDtype, gradDivergence, options },
    ...{ logits: new Float32Array(0), teacherLogits: new Float32Array(0) },
    values: linearLogits({ ...student.values, labels }),
    teacherValues: linearLogits({ ...teacher.values, labels }),
  };
  const head = {
    ...{ hidden: student.hidden, weight: student.weight, ...(student.bias && { bias: student.bias }), dtype },
    ...{ hiddenSize: H, ...(options.temperature && { temperature: options.temperature }) },
    ...(options.mask && { mask: options.mask }),
  };
  const ofTeacher = {
    ...{
      teacherHidden: teacher.hidden,
      teacherWeight: teacher.weight,
      ...(teacher.bias && { teacherBias: teacher.bias }),
    },
    ...{ teacherDtype, ...(options.teacherTemperature && { teacherTemperature: options.teacherTemperature }) },
  };
  const name = `${N} x ${H} and ${teacherH} x ${V}${bias ? ' with bias' : ''}, ${dtype} from ${teacherDtype}`;
  return { name, shape, rows, student, head, teacher: ofTeacher, gradDivergence };
}

const f32 = { dtype: 'float32', teacherDtype: 'float32' } as const;
const cases = [
  caseOf({ N: 1, V: 1, H: 1, teacherH: 1, ...f32 }),
  caseOf({ N: 5, V: 97, H: 9, teacherH: 13, ...f32, bias: true }),
  caseOf({ N: 70, V: 500, H: 33, teacherH: 20, ...f32 }),
  caseOf({ N: 130, V: 195, H: 8, teacherH: 8, ...f32, temperature: 0.7, teacherTemperature: 1.5 }),
  caseOf({ N: 3, V: 2000, H: 17, teacherH: 5, ...f32, bias: true }),
  caseOf({ N: 9, V: 100, H: 12, teacherH: 15, ...f32, mask: Uint8Array.of(1, 0, 1, 1, 0, 0, 9, 0, 1) }),
  caseOf({ N: 6, V: 193, H: 16, teacherH: 21, dtype: 'bfloat16', teacherDtype: 'bfloat16', bias: true }),
  caseOf({ N: 6, V: 193, H: 16, teacherH: 21, dtype: 'bfloat16', teacherDtype: 'float32' }),
  caseOf({ N: 6, V: 130, H: 15, teacherH: 21, dtype: 'float16', teacherDtype: 'bfloat16', bias: true }),
];
type Case = (typeof cases)[number];

const HALF = { float32: 2e-5, bfloat16: 4e-3, float16: 5e-4 };

function expectResults(
  { rows, student, shape, gradDivergence }: Case,
  expected: ReturnType<typeof expectedOf>,
  divergence: Float32Array,
  gradients: Partial<Record<'gradHidden' | 'gradWeight' | 'gradBias', Float32Array>>,
): void {
  expectClose('divergence', divergence, expected.divergence, (x) => 1e-5 + 2e-5 * Math.abs(x));
  const gradLogits = expected.gradient.map((x, at) => x * gradDivergence[Math.floor(at / rows.V)]!);
  const hidden = student.values.hidden.map((x) => (Number.isNaN(x) ? 0 : x));
  const all = projectGradient({ ...student.values, hidden, labels: gradDivergence }, gradLogits);
  for (const name of ['gradHidden', 'gradWeight', 'gradBias'] as const) {
    const ours = gradients[name];
    if (ours === undefined) continue;
    const largest = all[name].reduce((m, x) => Math.max(m, Math.abs(x)), 1e-3);
    const allowed = HALF[shape.dtype];
    expectClose(name, ours, all[name], (x) => allowed * (largest + Math.abs(x)));
  }
}

const topOf = ({ rows }: Case, tail: TopK['topKTail']) => topKOf(rows, Math.min(rows.V, 5), tail);

const vectors = vectorCases<Kind & { hiddenSize: number; vocabSize: number; temperature: number }>('linear_divergence');

forEachBackend(() => {
  it.each(vectors)('meets the vector $name', (vector) => {
    const names = {
      ...{ hidden: 'hidden', weight: 'weight', bias: 'bias', teacher_hidden: 'teacherHidden' },
      ...{ teacher_weight: 'teacherWeight', teacher_bias: 'teacherBias', teacher_logps: 'teacherLogps' },
    };
    const given = Object.entries(names).filter(([name]) => vector.has(name));
    const inputs = {
      ...Object.fromEntries(given.map(([name, option]) => [option, vector.stored(name).data])),
      ...(vector.has('teacher_indices') && { teacherIndices: vector.integers('teacher_indices') }),
      ...vector.options,
    } as unknown as LinearDivergenceOptions;
    const { divergence, saved } = linearDivergence(inputs);
    expectClose('divergence', divergence, vector.values('expected.divergence'), (x) => 1e-5 + 2e-5 * Math.abs(x));
    const gradDivergence = vector.floats('grad_divergence');
    const gradients = linearDivergenceBackward({ ...inputs, out: undefined, saved, gradDivergence });
    for (const [name, ours] of Object.entries(gradients)) {
      const expected = vector.values(`expected.${name.replace(/[A-Z]/, (letter) => `_${letter.toLowerCase()}`)}`);
      const largest = expected.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
      expectClose(name, ours, expected, (x) => 2e-5 * (largest + Math.abs(x)));
    }
  });

  describe.each(KINDS.map((kind) => ({ name: nameOf(kind), kind })))('$name', ({ kind }) => {
    it.each(cases)('meets the oracle: $name', (each) => {
      const inputs = { ...each.head, ...each.teacher, ...kind };
      const { divergence, saved } = linearDivergence(inputs);
      const { gradDivergence } = each;
      const gradients = linearDivergenceBackward({ ...inputs, saved, gradDivergence });
      expectResults(each, expectedOf(each.rows, kind), divergence, gradients);
    });

    it.each(
      cases.flatMap((each) => (['bucket', 'renormalize'] as const).map((tail) => ({ name: each.name, each, tail }))),
    )('meets the oracle of a top-k teacher: $tail, $name', ({ each, tail }) => {
      const top = topOf(each, tail);
      const inputs = { ...each.head, ...top, ...kind };
      const { divergence, saved } = linearDivergence(inputs);
      const gradients = linearDivergenceBackward({ ...inputs, saved, gradDivergence: each.gradDivergence });
      expectResults(each, expectedOfTopK(each.rows, top, kind), divergence, gradients);
    });

    it('is exactly 0 for the same head', () => {
      const { head } = cases[2]!;
      const teacher = { teacherHidden: head.hidden.slice(), teacherWeight: head.weight.slice() };
      const { divergence } = linearDivergence({ ...head, ...teacher, ...kind });
      expect(divergence).toEqual(new Float32Array(divergence.length));
    });

    it.each(['teacher', 'bucket', 'renormalize'] as const)(
      'leaves out what is frozen, and accumulates: %s',
      (which) => {
        const each = cases[1]!;
        const ofTeacher = which === 'teacher' ? each.teacher : topOf(each, which);
        const inputs = { ...each.head, ...ofTeacher, ...kind };
        const { saved } = linearDivergence(inputs);
        const backward = { ...inputs, saved, gradDivergence: each.gradDivergence };
        const all = linearDivergenceBackward(backward);
        const hidden = linearDivergenceBackward({ ...backward, frozenWeight: true });
        const weight = linearDivergenceBackward({ ...backward, frozenHidden: true });
        expect([Object.keys(hidden), Object.keys(weight)]).toEqual([['gradHidden'], ['gradWeight', 'gradBias']]);
        expectSameBits('gradHidden', hidden.gradHidden, all.gradHidden);
        expectSameBits('gradWeight', weight.gradWeight, all.gradWeight);
        expectSameBits('gradBias', weight.gradBias!, all.gradBias!);
        const out = {
          gradHidden: all.gradHidden.slice(),
          gradWeight: all.gradWeight.slice(),
          gradBias: all.gradBias!.slice(),
        };
        linearDivergenceBackward({ ...backward, accumulate: true, out });
        for (const name of ['gradHidden', 'gradWeight', 'gradBias'] as const) {
          const twice = Float64Array.from(all[name]!, (x) => 2 * x);
          const largest = twice.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
          expectClose(name, out[name], twice, () => 1e-6 * largest);
        }
      },
    );

    it('makes the gradients 0 where every row is masked', () => {
      const { head, teacher, gradDivergence } = cases[1]!;
      const inputs = { ...head, ...teacher, ...kind, mask: new Uint8Array(5) };
      const { divergence, saved } = linearDivergence(inputs);
      expect(divergence).toEqual(new Float32Array(5));
      const out = { gradHidden: new Float32Array(45).fill(7), gradWeight: new Float32Array(873).fill(7) };
      const { gradBias } = linearDivergenceBackward({ ...inputs, saved, gradDivergence, out });
      for (const gradient of [out.gradHidden, out.gradWeight, gradBias!])
        expect(gradient.every((x) => x === 0)).toBe(true);
    });

    it('gives the same bits for any number of threads', () => {
      const each = caseOf({ N: 67, V: 3000, H: 40, teacherH: 24, ...f32 });
      for (const ofTeacher of [each.teacher, topOf(each, 'bucket'), topOf(each, 'renormalize')]) {
        const inputs = { ...each.head, ...ofTeacher, ...kind };
        const [first, ...others] = underThreadCounts(() => {
          const { divergence, saved } = linearDivergence(inputs);
          const backward = linearDivergenceBackward({ ...inputs, saved, gradDivergence: each.gradDivergence });
          return { divergence, saved, ...backward };
        });
        for (const { result } of others) {
          for (const name of ['divergence', 'saved', 'gradHidden', 'gradWeight'] as const) {
            expectSameBits(name, result[name], first!.result[name]);
          }
        }
      }
    });
  });

  it('keeps the logits of a chunk of rows for jsd, whatever the vocabulary', () => {
    const each = caseOf({ N: 40, V: 60_000, H: 4, teacherH: 3, ...f32 });
    const inputs = { ...each.head, ...each.teacher, divergence: 'jsd' as const };
    const { divergence } = linearDivergence(inputs);
    expectResults(each, expectedOf(each.rows, inputs), divergence, {});
  });
});

describe('errors', () => {
  const { head, teacher, gradDivergence } = cases[1]!;
  const divergence = 'forward_kl' as const;
  const call = (options: object) => () => linearDivergence({ ...head, ...teacher, divergence, ...options } as never);

  it.each<[string, object, string, string]>([
    ['another V in the teacher', { teacherWeight: new Float32Array(96 * 13) }, 'ERR_ARG_LENGTH', 'teacherWeight'],
    ['no hiddenSize', { hiddenSize: undefined }, 'ERR_ARG_TYPE', 'hiddenSize'],
    ['half a row', { hiddenSize: 7 }, 'ERR_ARG_LENGTH', 'hidden'],
    ['another bias of the teacher', { teacherBias: new Float32Array(3) }, 'ERR_ARG_LENGTH', 'teacherBias'],
    ['teacherLogits', { teacherLogits: new Float32Array(5 * 97) }, 'ERR_UNKNOWN_OPTION', 'teacherLogits'],
    ['frozenWeight of a forward pass', { frozenWeight: true }, 'ERR_UNKNOWN_OPTION', 'frozenWeight'],
    ['a shard', { vocabOffset: 0 }, 'ERR_UNKNOWN_OPTION', 'vocabOffset'],
  ])('%s', (_, options, code, text) => {
    expect(call(options)).toThrow(expect.objectContaining({ code, message: expect.stringContaining(text) }));
  });

  it('does not freeze both, or take a buffer for what is frozen', () => {
    const { saved } = linearDivergence({ ...head, ...teacher, divergence });
    const backward = { ...head, ...teacher, divergence, saved, gradDivergence };
    const both = () => linearDivergenceBackward({ ...backward, frozenWeight: true, frozenHidden: true });
    expect(both).toThrow(expect.objectContaining({ code: 'ERR_ARG_VALUE' }));
    const out = { gradWeight: new Float32Array(97 * 9) };
    const buffer = () => linearDivergenceBackward({ ...backward, frozenWeight: true, out });
    expect(buffer).toThrow(TypeError);
  });
});
