/** What the compiler tells a user: `npm run lint` checks this file's types; running it does next to nothing. */
import * as sweetRl from 'sweet-rl';
import * as objectives from 'sweet-rl/objectives';
import { expectTypeOf, it } from 'vitest';

const head = { labels: new Int32Array(1), refLogps: new Float32Array(1) };
const batch = {
  turnOffsets: new Int32Array(2),
  trajectoryOffsets: new Int32Array(2),
  chosen: new Int32Array(1),
  rejected: new Int32Array(1),
};

it('gives gradients of logits the class of the logits', () => {
  const float32 = () => sweetRl.criticUpdate({ ...head, ...batch, logits: new Float32Array(4) });
  const bfloat16 = () => sweetRl.criticUpdate({ ...head, ...batch, logits: new Uint16Array(4), dtype: 'bfloat16' });
  expectTypeOf(float32).returns.toHaveProperty('gradLogits').toEqualTypeOf<Float32Array<ArrayBuffer>>();
  expectTypeOf(bfloat16).returns.toHaveProperty('gradLogits').toEqualTypeOf<Uint16Array<ArrayBuffer>>();
});

it('gives a linear head gradients of hidden states and weight instead', () => {
  const linear = () =>
    sweetRl.criticUpdate({ ...head, ...batch, hidden: new Float32Array(2), weight: new Float32Array(8) });
  expectTypeOf(linear).returns.toHaveProperty('gradHidden').toEqualTypeOf<Float32Array<ArrayBuffer>>();
  expectTypeOf(linear).returns.not.toHaveProperty('gradLogits');
});

it('gives no gradient of a frozen part', () => {
  const hidden = new Float32Array(2);
  const linear = { labels: head.labels, hidden, weight: new Float32Array(8), lse: hidden, gradLogps: hidden };
  const all = () => sweetRl.linearLogpsBackward(linear);
  expectTypeOf(all).returns.toEqualTypeOf<sweetRl.LinearGradients>();
  const ofHidden = () => sweetRl.linearLogpsBackward({ ...linear, frozenWeight: true });
  expectTypeOf(ofHidden).returns.toHaveProperty('gradHidden').toEqualTypeOf<Float32Array<ArrayBuffer>>();
  expectTypeOf(ofHidden).returns.not.toHaveProperty('gradWeight');
  const ofWeight = () => sweetRl.criticUpdate({ ...linear, ...head, ...batch, frozenHidden: true });
  expectTypeOf(ofWeight).returns.toHaveProperty('gradWeight').toEqualTypeOf<Float32Array<ArrayBuffer>>();
  expectTypeOf(ofWeight).returns.not.toHaveProperty('gradHidden');
  const either = (frozenWeight: boolean) => sweetRl.linearLogpsBackwardAsync({ ...linear, frozenWeight });
  expectTypeOf(either).returns.resolves.toHaveProperty('gradHidden').toEqualTypeOf<Float32Array<ArrayBuffer>>();
  expectTypeOf(either)
    .returns.resolves.toHaveProperty('gradWeight')
    .toEqualTypeOf<Float32Array<ArrayBuffer> | undefined>();
  const onDevice = (buffer: sweetRl.DeviceBuffer) => {
    const given = { labels: buffer, hidden: buffer, weight: buffer, lse: buffer, gradLogps: buffer };
    return sweetRl.linearLogpsBackward({ ...given, frozenWeight: true });
  };
  expectTypeOf(onDevice).returns.toHaveProperty('gradHidden').toEqualTypeOf<sweetRl.DeviceBuffer>();
  expectTypeOf(onDevice).returns.not.toHaveProperty('gradWeight');
  const calls = () => {
    // @ts-expect-error: no such option
    sweetRl.linearLogpsBackward({ ...linear, frozenWeight: true, colour: 1 });
    // @ts-expect-error: a flag
    sweetRl.linearLogpsBackward({ ...linear, frozenWeight: 'yes' });
  };
  expectTypeOf(calls).toBeFunction();
});

it('takes tensors where a head takes arrays', () => {
  const logits = { data: new Float32Array(4), dims: [1, 4] };
  const forward = () => sweetRl.tokenLogps({ logits, labels: head.labels });
  expectTypeOf(forward).returns.toEqualTypeOf<sweetRl.Logps>();
  const update = () => sweetRl.criticUpdate({ ...head, ...batch, logits });
  expectTypeOf(update).returns.toHaveProperty('gradLogits').toEqualTypeOf<Float32Array<ArrayBuffer>>();
  const hidden = { data: new Float32Array(2), shape: [1, 2] };
  const linear = () => sweetRl.linearLogps({ hidden, weight: new Float32Array(8), labels: head.labels });
  expectTypeOf(linear).returns.toEqualTypeOf<sweetRl.Logps>();
});

it('takes tensors where there are labels and masks', () => {
  const labels = { data: new BigInt64Array(1), dims: [1], type: 'int64' } as const;
  const mask = { data: new Uint8Array(1), shape: [1] };
  const logps = new Float32Array(1);
  const logits = new Float32Array(4);
  const calls = () => {
    expectTypeOf(sweetRl.tokenLogps({ logits, labels, mask })).toEqualTypeOf<sweetRl.Logps>();
    expectTypeOf(sweetRl.criticUpdate({ ...batch, refLogps: logps, logits, labels, mask })).toHaveProperty(
      'gradLogits',
    );
    sweetRl.turnAdvantages({ logps, refLogps: logps, turnOffsets: batch.turnOffsets, labels, mask });
    sweetRl.checkLogps({ logits, labels, mask, logps });
    sweetRl.mergeVocabParallelStats({ stats: new Float64Array(12), labels, mask });
    sweetRl.tokenLogps({ logits, labels, mask: labels });
    // @ts-expect-error: the data of a mask are integers
    sweetRl.tokenLogps({ logits, labels, mask: { data: logps, dims: [1] } });
    // @ts-expect-error: a mask is a typed array
    sweetRl.tokenLogps({ logits, labels, mask: [true] });
    // @ts-expect-error: labels are integers
    sweetRl.tokenLogps({ logits, labels: { data: logps, dims: [1] } });
    // @ts-expect-error: a tensor has a shape
    sweetRl.tokenLogps({ logits, labels: { data: new Int32Array(1) } });
  };
  expectTypeOf(calls).toBeFunction();
  expectTypeOf<sweetRl.Tensor<sweetRl.Labels>>().toExtend<sweetRl.TokenLogpsOptions['labels']>();
});

/** The options that take an array but no tensor; not those of `out`. */
type WithoutTensor<T> = T extends unknown
  ? {
      [K in keyof T]-?: [Extract<T[K], ArrayBufferView>] extends [never]
        ? never
        : [Extract<T[K], sweetRl.Tensor<unknown>>] extends [never]
          ? K
          : never;
    }[keyof T]
  : never;

it('takes a tensor for every array that is an input', () => {
  expectTypeOf<WithoutTensor<{ a: Float32Array; b?: sweetRl.ArrayOrTensor<Int32Array> }>>().toEqualTypeOf<'a'>();
  type Options =
    | sweetRl.TokenLogpsOptions
    | sweetRl.TokenLogpsBackwardOptions
    | sweetRl.LinearLogpsOptions
    | sweetRl.LinearLogpsBackwardOptions
    | sweetRl.TokenDivergenceOptions
    | sweetRl.TokenDivergenceBackwardOptions
    | sweetRl.LinearDivergenceOptions
    | sweetRl.LinearDivergenceBackwardOptions
    | sweetRl.VocabParallelStatsOptions
    | sweetRl.MergeVocabParallelStatsOptions
    | sweetRl.PartialsOptions
    | sweetRl.MergePartialsOptions
    | sweetRl.CriticUpdateOptions
    | sweetRl.PolicyUpdateOptions
    | sweetRl.TurnAdvantagesOptions
    | sweetRl.TurnAdvantagesBackwardOptions
    | sweetRl.TrajectoryPreferenceOptions
    | sweetRl.TurnPreferenceOptions
    | sweetRl.UnpairedPreferenceOptions
    | sweetRl.UnpairedUpdateOptions
    | sweetRl.FilteredNllOptions
    | sweetRl.BinaryValueOptions
    | sweetRl.ValueAdvantagesOptions
    | sweetRl.BradleyTerryOptions
    | sweetRl.SamplePairsOptions
    | sweetRl.TrajectoryPairsOptions
    | Parameters<typeof sweetRl.rankCandidates>[0]
    | sweetRl.CheckLogpsOptions
    | Omit<sweetRl.CheckGradOptions, 'parameters' | 'gradient'>
    | sweetRl.Turn;
  expectTypeOf<WithoutTensor<Options>>().toEqualTypeOf<never>();
  const logps = { data: new Float32Array(1), dims: [1, 1], type: 'float32' } as const;
  const [logits, labels, turnOffsets] = [new Float32Array(4), new Int32Array(1), Int32Array.of(0, 1)];
  const calls = () => {
    sweetRl.tokenLogpsBackward({ logits, labels, lse: logps, gradLogps: logps, gradEntropy: logps, entropy: logps });
    sweetRl.turnAdvantages({ logps, refLogps: logps, turnOffsets: { data: turnOffsets, shape: [2] } });
    sweetRl.checkLogps({ logits, labels, logps });
    // @ts-expect-error: integers
    sweetRl.turnAdvantages({ logps, refLogps: logps, turnOffsets: logps });
    // @ts-expect-error: results are plain arrays
    sweetRl.tokenLogps({ logits, labels, out: { logps } });
    // @ts-expect-error: results are plain arrays
    sweetRl.turnPreferenceLoss({ logps, refLogps: logps, turnOffsets, ...batch, out: { gradLogps: logps } });
  };
  expectTypeOf(calls).toBeFunction();
});

it('gives a gradient of the objectives the class of its array, and takes tensors for all others', () => {
  const [logps, advantages] = [new Float32Array(1), new Float64Array(1)];
  const loss = () => objectives.policyGradientLoss({ logps, advantages, entropy: advantages });
  expectTypeOf(loss).returns.toHaveProperty('gradLogps').toEqualTypeOf<Float32Array<ArrayBuffer>>();
  expectTypeOf(loss).returns.toHaveProperty('gradEntropy').toEqualTypeOf<Float64Array<ArrayBuffer> | undefined>();
  const head = { logits: new Float32Array(4), labels: new Int32Array(1), lse: logps };
  const backward = () => sweetRl.tokenLogpsBackward({ ...head, gradLogps: loss().gradLogps });
  expectTypeOf(backward).toBeFunction();
  const critic = (values: objectives.Reals) => objectives.clippedValueLoss({ values, returns: advantages });
  expectTypeOf(critic).returns.toHaveProperty('gradValues').toEqualTypeOf<objectives.SameClass<objectives.Reals>>();
  type Options =
    | objectives.DiscountedReturnsOptions
    | objectives.GeneralizedAdvantagesOptions
    | objectives.WhitenOptions
    | objectives.BroadcastTurnsOptions
    | objectives.GroupAdvantagesOptions
    | objectives.StepGroupAdvantagesOptions
    | objectives.TurnRewardAdvantagesOptions
    | objectives.MonteCarloValuesOptions
    | objectives.TreeValuesOptions
    | objectives.SiblingPairsOptions
    | objectives.CollaborativeReturnsOptions
    | objectives.ImportanceWeightsOptions
    | objectives.PolicyGradientLossOptions
    | objectives.ClippedValueLossOptions
    | objectives.TdLossOptions
    | objectives.ExpectileLossOptions
    | objectives.IlqlLossOptions
    | objectives.DoubleMinAdvantagesOptions
    | objectives.ImplicitRewardLossOptions
    | objectives.SoftValueOptions
    | objectives.SelectAgentTokensOptions
    | objectives.PrivilegedAdvantagesOptions;
  expectTypeOf<WithoutTensor<Options>>().toEqualTypeOf<never>();
  const wrong = () => {
    // @ts-expect-error: no such option
    objectives.whiten({ advantages, normalize: true });
    // @ts-expect-error: no such objective
    objectives.policyGradientLoss({ logps, advantages, objective: 'ppo' });
  };
  expectTypeOf(wrong).toBeFunction();
});

it('lets a wrapper pass the options of an update on', () => {
  const wrapper = (options: sweetRl.PolicyUpdateOptions) => sweetRl.policyUpdate(options);
  expectTypeOf(wrapper).returns.toEqualTypeOf<sweetRl.AnyUpdateResult>();
  const later = (options: sweetRl.CriticUpdateOptions) => sweetRl.criticUpdateAsync(options);
  expectTypeOf(later).returns.toEqualTypeOf<Promise<sweetRl.AnyUpdateResult>>();
});

it('gives arrays in device memory where the options are there', () => {
  const update = (buffer: sweetRl.DeviceBuffer) => {
    const onDevice = { labels: buffer, refLogps: buffer, turnOffsets: buffer, chosen: buffer, rejected: buffer };
    return {
      ofLogits: sweetRl.policyUpdate({ ...onDevice, logits: buffer }).gradLogits,
      ofHidden: sweetRl.policyUpdate({ ...onDevice, hidden: buffer, weight: buffer }).gradHidden,
    };
  };
  type Gradients = { ofLogits: sweetRl.DeviceBuffer; ofHidden: sweetRl.DeviceBuffer };
  expectTypeOf(update).returns.toEqualTypeOf<Gradients>();
});

it('gives results whose memory is no SharedArrayBuffer', () => {
  type Own = Float32Array<ArrayBuffer>;
  expectTypeOf<sweetRl.Logps['logps']>().toEqualTypeOf<Own>();
  expectTypeOf<sweetRl.PreferenceResult['gradLogps']>().toEqualTypeOf<Own>();
  expectTypeOf<sweetRl.UpdateResult['logps']>().toEqualTypeOf<Own>();
  expectTypeOf<sweetRl.FilteredNll['gradLogps']>().toEqualTypeOf<Own>();
  expectTypeOf<sweetRl.BinaryValue['values']>().toEqualTypeOf<Own>();
  expectTypeOf<sweetRl.VocabParallelStats['stats']>().toEqualTypeOf<Float64Array<ArrayBuffer>>();
});

it('refuses unknown options, wrong choices and missing arrays', () => {
  const { labels } = head;
  const logits = new Float32Array(4);
  const calls = () => {
    // @ts-expect-error: no such option
    sweetRl.tokenLogps({ logits, labels, colour: 1 });
    // @ts-expect-error: labels are integers
    sweetRl.tokenLogps({ logits, labels: logits });
    // @ts-expect-error: no such reduction
    sweetRl.turnAdvantages({ logps: logits, refLogps: logits, turnOffsets: labels, reduction: 'median' });
    // @ts-expect-error: a reference is missing
    sweetRl.criticUpdate({ ...batch, labels, logits });
    // @ts-expect-error: no such loss type
    sweetRl.criticUpdate({ ...batch, labels, logits, lossType: 'dpo' });
    // @ts-expect-error: no such backend
    sweetRl.useBackend('sse2');
  };
  expectTypeOf(calls).toBeFunction();
});

it('needs a reference where a type of the loss does', () => {
  const { labels } = head;
  const logits = new Float32Array(4);
  const given = { ...batch, labels, logits };
  const { trajectoryOffsets: _, ...ofTurns } = given;
  const calls = () => {
    sweetRl.criticUpdate({ ...given, lossType: 'cpo' });
    sweetRl.policyUpdate({ ...ofTurns, lossType: ['orpo', 'sft'], lossWeights: [1, 0.5] });
    sweetRl.policyUpdate({ ...ofTurns, lossType: 'sigmoid', referenceFree: true });
    sweetRl.policyUpdate({ ...ofTurns, lossType: 'cpo', refLogps: logits });
    sweetRl.policyUpdate({ ...ofTurns, hidden: logits, weight: logits, lossType: 'simpo' }).gradHidden;
    // @ts-expect-error: 'sigmoid' needs a reference
    sweetRl.criticUpdate({ ...given, lossType: 'sigmoid' });
    // @ts-expect-error: 'ipo' needs a reference
    sweetRl.policyUpdate({ ...ofTurns, lossType: ['cpo', 'ipo'] });
    // @ts-expect-error: so does the default
    sweetRl.policyUpdate({ ...ofTurns });
  };
  expectTypeOf(calls).toBeFunction();
});

it('tells items of an unpaired loss apart, and their heads', () => {
  const { labels, refLogps } = head;
  const logits = new Float32Array(4);
  const { turnOffsets, trajectoryOffsets } = batch;
  const items = { turnOffsets, desirable: new Uint8Array(1), klLogps: refLogps, klRefLogps: refLogps };
  const update = () => sweetRl.unpairedUpdate({ ...items, labels, refLogps, logits });
  expectTypeOf(update).returns.toHaveProperty('gradLogits').toEqualTypeOf<Float32Array<ArrayBuffer>>();
  const later = () => sweetRl.unpairedUpdateAsync({ ...items, ...head, hidden: logits, weight: logits });
  expectTypeOf(later).returns.resolves.toHaveProperty('gradHidden').toEqualTypeOf<Float32Array<ArrayBuffer>>();
  const onDevice = (buffer: sweetRl.DeviceBuffer) => {
    const given = { labels: buffer, refLogps: buffer, turnOffsets: buffer, desirable: buffer, logits: buffer };
    return sweetRl.unpairedUpdate({ ...given, lossType: 'bco' });
  };
  expectTypeOf(onDevice).returns.toHaveProperty('chosenRewards').toEqualTypeOf<sweetRl.DeviceBuffer>();
  expectTypeOf<sweetRl.UnpairedResult['gradLogps']>().toEqualTypeOf<Float32Array<ArrayBuffer>>();
  const calls = () => {
    sweetRl.unpairedPreferenceLoss({ ...items, logps: logits, refLogps, trajectoryOffsets, normalization: 'sum' });
    sweetRl.unpairedPreferenceLoss({ ...items, logps: logits, referenceFree: true, reduction: 'mean' });
    expectTypeOf(
      sweetRl.trlMetrics(sweetRl.unpairedPreferenceLoss({ ...items, logps: logits })),
    ).toEqualTypeOf<sweetRl.TrlUnpairedMetrics>();
    // @ts-expect-error: of turns there is no normalization
    sweetRl.unpairedPreferenceLoss({ ...items, logps: logits, refLogps, normalization: 'sum' });
    // @ts-expect-error: of trajectories there is no reduction
    sweetRl.unpairedPreferenceLoss({ ...items, logps: logits, refLogps, trajectoryOffsets, reduction: 'sum' });
    // @ts-expect-error: no loss of single items
    sweetRl.unpairedPreferenceLoss({ ...items, logps: logits, refLogps, lossType: 'sigmoid' });
    // @ts-expect-error: a reference is missing
    sweetRl.unpairedUpdate({ ...items, labels, logits });
    // @ts-expect-error: of no known length
    sweetRl.unpairedPreferenceLoss({ ...items, logps: logits, refLogps, out: { chosenRewards: logits } });
  };
  expectTypeOf(calls).toBeFunction();
});

it('tells the heads of a policy-gradient update apart', () => {
  const { labels, refLogps } = head;
  const [logits, advantages] = [new Float32Array(4), new Float64Array(1)];
  const update = () => sweetRl.policyGradientUpdate({ labels, logits, advantages });
  expectTypeOf(update).returns.toHaveProperty('gradLogits').toEqualTypeOf<Float32Array<ArrayBuffer>>();
  expectTypeOf(update).returns.toHaveProperty('clipFraction').toBeNumber();
  const later = () =>
    sweetRl.policyGradientUpdateAsync({ ...head, advantages, hidden: logits, weight: logits, frozenWeight: true });
  expectTypeOf(later).returns.resolves.toHaveProperty('gradHidden').toEqualTypeOf<Float32Array<ArrayBuffer>>();
  expectTypeOf(later).returns.resolves.not.toHaveProperty('gradWeight');
  const onDevice = (buffer: sweetRl.DeviceBuffer) =>
    sweetRl.policyGradientUpdate({ labels: buffer, logits: buffer, advantages: buffer, entropyCoef: 0.01 });
  expectTypeOf(onDevice).returns.toHaveProperty('logps').toEqualTypeOf<sweetRl.DeviceBuffer>();
  const calls = () => {
    const given = { labels, logits, advantages };
    sweetRl.policyGradientUpdate({ ...given, refLogps, klCoef: 0.1, klType: 'k2', reduction: 'constant' });
    sweetRl.policyGradientUpdate({ ...given, advantages: logits, oldLogps: advantages, ratioLevel: 'turn' });
    sweetRl.policyGradientUpdate({ ...given, refLogits: logits, klCoef: 0.1, out: { gradLogits: logits } });
    // @ts-expect-error: no advantages
    sweetRl.policyGradientUpdate({ labels, logits });
    // @ts-expect-error: no objective
    sweetRl.policyGradientUpdate({ ...given, objective: 'ppo' });
    // @ts-expect-error: entropyCoef asks for it
    sweetRl.policyGradientUpdate({ ...given, entropy: true });
    // @ts-expect-error: importanceWeights have their place
    sweetRl.policyGradientUpdate({ ...given, tokenWeights: logits });
  };
  expectTypeOf(calls).toBeFunction();
});

it('gives results their types', () => {
  const offsets = Int32Array.of(0, 1);
  const logps = Float32Array.of(-1);
  const turns = { logps, refLogps: logps, turnOffsets: offsets };
  expectTypeOf(() => sweetRl.turnAdvantages(turns)).returns.toEqualTypeOf<Float32Array<ArrayBuffer>>();
  const pair = { trajectoryOffsets: offsets, chosen: offsets, rejected: offsets };
  expectTypeOf(() =>
    sweetRl.trajectoryPreferenceLoss({ ...turns, ...pair }),
  ).returns.toEqualTypeOf<sweetRl.PreferenceResult>();
  expectTypeOf(sweetRl.threads).returns.toEqualTypeOf<number>();
  expectTypeOf<sweetRl.SweetError>().toExtend<Error & { code: string }>();
});

it("takes another process's memory as it is given, and addresses only as bigints", () => {
  const open = (buffer: sweetRl.DeviceBuffer) => sweetRl.DeviceBuffer.fromIpc(buffer.ipcHandle());
  expectTypeOf(open).returns.toEqualTypeOf<sweetRl.DeviceBuffer>();
  expectTypeOf<sweetRl.DeviceBuffer['ipcHandle']>().returns.toHaveProperty('byteOffset').toEqualTypeOf<number>();
  const calls = () => {
    // @ts-expect-error: an address is a bigint
    sweetRl.DeviceBuffer.view({ ptr: 4096, byteLength: 4, dtype: 'float32' });
    // @ts-expect-error: a stream's handle is a bigint
    sweetRl.DeviceBuffer.view({ ptr: 4096n, byteLength: 4, dtype: 'float32' }, { stream: 0 });
  };
  expectTypeOf(calls).toBeFunction();
});
