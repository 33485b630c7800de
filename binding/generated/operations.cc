// Generated from binding/operations.js by `npm run generate`. Do not edit.
#include "../../native/logps.h"
#include "../../native/vocab_parallel.h"
#include "../../native/turn_advantages.h"
#include "../../native/preference_loss.h"
#include "../../native/preference_update.h"
#include "../../native/unpaired_loss.h"
#include "../../native/unpaired_update.h"
#include "../../native/policy_gradient_update.h"
#include "../../native/divergence.h"
#include "../../native/non_finite.h"
#include "args.h"  // binding/args.h, or binding/wasm/args.h

namespace sweet {
namespace {

static_assert(static_cast<int>(DType::float32) == 0 && static_cast<int>(DType::bfloat16) == 1 && static_cast<int>(DType::float16) == 2);
static_assert(static_cast<int>(Precision::fastest) == 0 && static_cast<int>(Precision::float32) == 1 && static_cast<int>(Precision::storage) == 2);
static_assert(static_cast<int>(LossType::sigmoid) == 0 && static_cast<int>(LossType::hinge) == 1 && static_cast<int>(LossType::ipo) == 2 && static_cast<int>(LossType::sigmoid_norm) == 3 && static_cast<int>(LossType::cpo) == 4 && static_cast<int>(LossType::simpo) == 5 && static_cast<int>(LossType::robust) == 6 && static_cast<int>(LossType::exo_pair) == 7 && static_cast<int>(LossType::discopop) == 8 && static_cast<int>(LossType::nca_pair) == 9 && static_cast<int>(LossType::bco_pair) == 10 && static_cast<int>(LossType::sppo_hard) == 11 && static_cast<int>(LossType::apo_zero) == 12 && static_cast<int>(LossType::apo_down) == 13 && static_cast<int>(LossType::orpo) == 14 && static_cast<int>(LossType::aot) == 15 && static_cast<int>(LossType::aot_unpaired) == 16 && static_cast<int>(LossType::sft) == 17);
static_assert(static_cast<int>(ScoreMap::reverse_kl) == 0 && static_cast<int>(ScoreMap::forward_kl) == 1 && static_cast<int>(ScoreMap::js_divergence) == 2 && static_cast<int>(ScoreMap::alpha_divergence) == 3);
static_assert(static_cast<int>(UnpairedType::kto) == 0 && static_cast<int>(UnpairedType::apo_zero_unpaired) == 1 && static_cast<int>(UnpairedType::bco) == 2);
static_assert(static_cast<int>(Normalization::turn_mean) == 0 && static_cast<int>(Normalization::token_mean) == 1 && static_cast<int>(Normalization::sum) == 2);
static_assert(static_cast<int>(PreferenceLevel::turn) == 0 && static_cast<int>(PreferenceLevel::trajectory) == 1);
static_assert(static_cast<int>(TopKTail::bucket) == 0 && static_cast<int>(TopKTail::renormalize) == 1);
static_assert(static_cast<int>(Divergence::forward_kl) == 0 && static_cast<int>(Divergence::reverse_kl) == 1 && static_cast<int>(Divergence::jsd) == 2);
static_assert(static_cast<int>(Objective::clip) == 0 && static_cast<int>(Objective::cispo) == 1 && static_cast<int>(Objective::sapo) == 2 && static_cast<int>(Objective::dppo) == 3 && static_cast<int>(Objective::reinforce) == 4);
static_assert(static_cast<int>(RatioLevel::token) == 0 && static_cast<int>(RatioLevel::turn) == 1 && static_cast<int>(RatioLevel::trajectory) == 2);
static_assert(static_cast<int>(LossReduction::token_mean) == 0 && static_cast<int>(LossReduction::sequence_mean_token_sum) == 1 && static_cast<int>(LossReduction::sequence_mean_token_mean) == 2 && static_cast<int>(LossReduction::constant) == 3);
static_assert(static_cast<int>(KlType::k1) == 0 && static_cast<int>(KlType::k2) == 1 && static_cast<int>(KlType::k3) == 2);
static_assert(static_cast<int>(Code::ok) == 0 && static_cast<int>(Code::memory) == 1 && static_cast<int>(Code::shape) == 2 && static_cast<int>(Code::label) == 3 && static_cast<int>(Code::turn_offsets) == 4 && static_cast<int>(Code::trajectory_offsets) == 5 && static_cast<int>(Code::empty_turn) == 6 && static_cast<int>(Code::empty_trajectory) == 7 && static_cast<int>(Code::chosen) == 8 && static_cast<int>(Code::rejected) == 9 && static_cast<int>(Code::same_pair) == 10 && static_cast<int>(Code::pair_weight) == 11 && static_cast<int>(Code::zero_weights) == 12 && static_cast<int>(Code::token_weight) == 13 && static_cast<int>(Code::unit_weight) == 14 && static_cast<int>(Code::teacher_index) == 15 && static_cast<int>(Code::teacher_twice) == 16 && static_cast<int>(Code::teacher_logps) == 17 && static_cast<int>(Code::shard_rows) == 18 && static_cast<int>(Code::shard_mismatch) == 19 && static_cast<int>(Code::shard_no_entropy) == 20 && static_cast<int>(Code::shard_statistics) == 21 && static_cast<int>(Code::shard_mask) == 22 && static_cast<int>(Code::shard_labels) == 23 && static_cast<int>(Code::shard_coverage) == 24 && static_cast<int>(Code::device) == 25 && static_cast<int>(Code::device_gemm) == 26 && static_cast<int>(Code::cancelled) == 27);

void read_logits_head(Args& args, Head& g) {
  g.dtype = args.choice<DType>(3);
  g.rows = args.integer();
  g.vocab_size = args.integer();
  g.temperature = args.number();
  g.softcap = args.number();
  g.vocab_offset = args.integer();
  g.total_vocab = args.integer();
  g.row_stride = args.integer();
  g.logits_length = args.integer();
  g.logits = args.array<const void>(g.logits_length);
  args.require(g.logits_length >= logits_elements(g));
}

void read_operand(Args& args, Operand& g, int64_t rows, int64_t columns) {
  g.dtype = args.choice<DType>(3);
  g.row_stride = args.integer();
  g.column_stride = args.integer();
  g.data = args.array<const void>(operand_elements(g, rows, columns));
}

void read_linear_head(Args& args, Head& g) {
  g.dtype = args.choice<DType>(3);
  g.rows = args.integer();
  g.vocab_size = args.integer();
  g.temperature = args.number();
  g.softcap = args.number();
  g.vocab_offset = args.integer();
  g.total_vocab = args.integer();
  g.hidden_size = args.integer();
  g.chunk_bytes = args.integer();
  g.precision = args.choice<Precision>(3);
  read_operand(args, g.hidden, g.rows, g.hidden_size);
  read_operand(args, g.weight, g.vocab_size, g.hidden_size);
  g.bias_dtype = args.choice<DType>(3);
  g.bias = args.optional_array<const void>(g.vocab_size);
}

void read_head(Args& args, Head& g) {
  if (!args.boolean()) return read_logits_head(args, g);
  return read_linear_head(args, g);
}

void read_labels(Args& args, Labels& g, int64_t rows) {
  g.wide = args.boolean();
  g.ignore_index = args.integer();
  g.data = args.array<const void>(rows);
  g.mask = args.optional_array<const uint8_t>(rows);
}

void read_token_labels(Args& args, Labels& g, int64_t tokens) {
  g.wide = args.boolean();
  g.ignore_index = args.integer();
  g.data = args.optional_array<const void>(tokens);
  g.mask = args.optional_array<const uint8_t>(tokens);
  g.weights = args.optional_array<const float>(tokens);
}

void read_logps_out(Args& args, LogpsOut& g, int64_t rows) {
  g.logps = args.array<float>(rows);
  g.lse = args.array<float>(rows);
  g.entropy = args.optional_array<float>(rows);
  g.argmax = args.optional_array<int32_t>(rows);
  g.sum_squared_probs = args.optional_array<float>(rows);
}

void read_shard_format(Args& args, ShardFormat& g) {
  g.entropy = args.boolean();
  g.argmax = args.boolean();
  g.sum_squares = args.boolean();
}

void read_logits_gradients(Args& args, HeadGradients& g, const Head& head) {
  g.logits = args.array<void>(head.logits_length);
}

void read_linear_gradients(Args& args, HeadGradients& g, const Head& head) {
  g.accumulate = args.boolean();
  g.hidden = args.optional_array<float>(head.rows * head.hidden_size);
  g.weight = args.optional_array<float>(head.vocab_size * head.hidden_size);
  g.bias = args.optional_array<float>(head.vocab_size);
}

void read_head_gradients(Args& args, HeadGradients& g, const Head& head) {
  if (!args.boolean()) return read_logits_gradients(args, g, head);
  return read_linear_gradients(args, g, head);
}

void read_turn_batch(Args& args, TurnBatch& g) {
  g.tokens = args.integer();
  g.turns = args.integer();
  g.mean = args.boolean();
  g.allow_empty_turns = args.boolean();
  read_token_labels(args, g.labels, g.tokens);
  g.turn_offsets = args.array<const int32_t>(g.turns + 1);
}

void read_pairs(Args& args, Pairs& g) {
  g.count = args.integer();
  g.chosen = args.array<const int32_t>(g.count);
  g.rejected = args.array<const int32_t>(g.count);
  g.weights = args.optional_array<const float>(g.count);
}

void read_preference_batch(Args& args, PreferenceBatch& g) {
  g.level = args.choice<PreferenceLevel>(2);
  g.tokens = args.integer();
  g.turns = args.integer();
  g.trajectories = args.integer();
  read_token_labels(args, g.labels, g.tokens);
  g.turn_offsets = args.array<const int32_t>(g.turns + 1);
  g.trajectory_offsets = args.optional_array<const int32_t>(g.trajectories + 1);
  read_pairs(args, g.pairs);
  args.require(g.trajectory_offsets != nullptr || !g.of_trajectories());
}

void read_loss_term(Args& args, LossTerm& g) {
  g.type = args.choice<LossType>(18);
  g.weight = args.number();
}

void read_pair_parameters(Args& args, PairParameters& g) {
  g.beta = args.number();
  g.label_smoothing = args.number();
  g.gamma = args.number();
  g.discopop_tau = args.number();
  g.f_divergence = args.choice<ScoreMap>(4);
  g.f_alpha = args.number();
  g.dpop_lambda = args.number();
}

void read_pair_loss(Args& args, PairLoss& g) {
  g.count = args.count(kLossTypes);
  for (int64_t i = 0; i < g.count; i++) read_loss_term(args, g.terms[i]);
  read_pair_parameters(args, g.parameters);
}

void read_preference_options(Args& args, PreferenceOptions& g) {
  g.normalization = args.choice<Normalization>(3);
  g.allow_empty_turns = args.boolean();
  read_pair_loss(args, g.pair_loss);
  g.pair_denominator = args.number();
  g.nll_coef = args.number();
  g.nll_denominator = args.number();
  g.ld_alpha = args.number();
  g.use_weighting = args.boolean();
}

void read_preference_out(Args& args, PreferenceOut& g, const PreferenceBatch& batch) {
  g.scalars = args.array<double>(4);
  g.pair_losses = args.array<float>(batch.pairs.count);
  g.margins = args.array<float>(batch.pairs.count);
  g.chosen_rewards = args.array<float>(batch.pairs.count);
  g.rejected_rewards = args.array<float>(batch.pairs.count);
  g.turn_advantages = args.array<float>(batch.turns);
  g.grad_logps = args.array<float>(batch.tokens);
}

void read_unpaired_batch(Args& args, UnpairedBatch& g) {
  g.level = args.choice<PreferenceLevel>(2);
  g.tokens = args.integer();
  g.turns = args.integer();
  g.trajectories = args.integer();
  read_token_labels(args, g.labels, g.tokens);
  g.turn_offsets = args.array<const int32_t>(g.turns + 1);
  g.trajectory_offsets = args.optional_array<const int32_t>(g.trajectories + 1);
  g.desirable = args.array<const uint8_t>(g.items());
  g.unit_weights = args.optional_array<const float>(g.items());
  args.require(g.trajectory_offsets != nullptr || !g.of_trajectories());
}

void read_reference_point(Args& args, ReferencePoint& g) {
  g.value = args.number();
  g.is_running = args.boolean();
  g.count = args.number();
  g.sequences = args.integer();
  g.kl_logps = args.optional_array<const float>(g.sequences);
  g.kl_ref_logps = args.optional_array<const float>(g.sequences);
}

void read_unpaired_options(Args& args, UnpairedOptions& g) {
  g.normalization = args.choice<Normalization>(3);
  g.allow_empty_turns = args.boolean();
  g.type = args.choice<UnpairedType>(3);
  g.beta = args.number();
  g.desirable_weight = args.number();
  g.undesirable_weight = args.number();
  g.unit_denominator = args.number();
  read_reference_point(args, g.reference_point);
}

void read_unpaired_out(Args& args, UnpairedOut& g, const UnpairedBatch& batch) {
  g.scalars = args.array<double>(4);
  g.unit_losses = args.array<float>(batch.items());
  g.rewards = args.array<float>(batch.items());
  g.rewards_by_kind = args.array<float>(batch.items());
  g.turn_advantages = args.array<float>(batch.turns);
  g.grad_logps = args.array<float>(batch.tokens);
}

void read_reals(Args& args, Reals& g, int64_t count) {
  g.wide = args.boolean();
  g.data = args.array<const void>(count);
}

void read_optional_reals(Args& args, Reals& g, int64_t count) {
  g.wide = args.boolean();
  g.data = args.optional_array<const void>(count);
}

void read_policy_gradient_batch(Args& args, PolicyGradientBatch& g) {
  g.tokens = args.integer();
  g.turns = args.integer();
  g.trajectories = args.integer();
  g.turn_offsets = args.optional_array<const int32_t>(g.turns + 1);
  g.trajectory_offsets = args.optional_array<const int32_t>(g.trajectories + 1);
  read_reals(args, g.advantages, g.tokens);
  read_optional_reals(args, g.old_logps, g.tokens);
  read_optional_reals(args, g.importance_weights, g.tokens);
  args.require(g.turn_offsets != nullptr || g.turns == g.tokens);
}

void read_policy_gradient_options(Args& args, PolicyGradientOptions& g) {
  g.objective = args.choice<Objective>(5);
  g.ratio_level = args.choice<RatioLevel>(3);
  g.clip_low = args.number();
  g.clip_high = args.number();
  g.dual_clip = args.number();
  g.tau_positive = args.number();
  g.tau_negative = args.number();
  g.reduction = args.choice<LossReduction>(4);
  g.denominator = args.number();
  g.kl_type = args.choice<KlType>(3);
  g.kl_coef = args.number();
  g.kl_max = args.number();
  g.entropy_coef = args.number();
}

void read_policy_gradient_out(Args& args, PolicyGradientOut& g) {
  g.scalars = args.array<double>(kPolicyScalars);
}

void read_reference_logps(Args& args, Reference& g, int64_t rows) {
  g.logps = args.optional_array<const float>(rows);
}

void read_reference_head(Args& args, Reference& g) {
  read_head(args, g.head);
}

void read_reference(Args& args, Reference& g, int64_t rows) {
  if (!args.boolean()) return read_reference_logps(args, g, rows);
  return read_reference_head(args, g);
}

void read_teacher_head(Args& args, Teacher& g) {
  read_head(args, g.head);
}

void read_teacher_top_k(Args& args, Teacher& g, int64_t rows) {
  g.k = args.integer();
  g.tail = args.choice<TopKTail>(2);
  g.indices = args.array<const int32_t>(rows * g.k);
  g.logps = args.array<const float>(rows * g.k);
  args.require(g.k > 0);
}

void read_teacher(Args& args, Teacher& g, int64_t rows) {
  if (!args.boolean()) return read_teacher_head(args, g);
  return read_teacher_top_k(args, g, rows);
}

CallResult bind_logps(const CallInfo& info) {
  Args args(info);
  Logps g{};
  read_head(args, g.head);
  read_labels(args, g.labels, g.head.rows);
  read_logps_out(args, g.out, g.head.rows);
  return args.perform([=] { return logps(g); });
}

CallResult bind_logps_backward(const CallInfo& info) {
  Args args(info);
  LogpsBackward g{};
  read_head(args, g.head);
  read_labels(args, g.labels, g.head.rows);
  g.lse = args.array<const float>(g.head.rows);
  g.entropy = args.optional_array<const float>(g.head.rows);
  g.grad_logps = args.optional_array<const float>(g.head.rows);
  g.grad_entropy = args.optional_array<const float>(g.head.rows);
  g.grad_lse = args.optional_array<const float>(g.head.rows);
  read_head_gradients(args, g.gradients, g.head);
  args.require(!g.head.logits == !g.gradients.logits && !g.grad_entropy == !g.entropy);
  return args.perform([=] { return logps_backward(g); });
}

CallResult bind_vocab_parallel_stats(const CallInfo& info) {
  Args args(info);
  VocabParallelStats g{};
  read_head(args, g.head);
  read_labels(args, g.labels, g.head.rows);
  read_shard_format(args, g.format);
  g.stats = args.array<double>(shard_elements(g.head.rows, g.format));
  return args.perform([=] { return vocab_parallel_stats(g); });
}

CallResult bind_merge_vocab_parallel_stats(const CallInfo& info) {
  Args args(info);
  MergeVocabParallelStats g{};
  g.rows = args.integer();
  g.shards = args.integer();
  read_shard_format(args, g.format);
  g.stats = args.array<const double>(g.shards * shard_elements(g.rows, g.format));
  read_labels(args, g.labels, g.rows);
  read_logps_out(args, g.out, g.rows);
  return args.perform([=] { return merge_vocab_parallel_stats(g); });
}

CallResult bind_turn_advantages(const CallInfo& info) {
  Args args(info);
  TurnAdvantages g{};
  read_turn_batch(args, g.batch);
  g.logps = args.array<const float>(g.batch.tokens);
  g.ref_logps = args.array<const float>(g.batch.tokens);
  g.advantages = args.array<float>(g.batch.turns);
  return args.perform([=] { return turn_advantages(g); });
}

CallResult bind_turn_advantages_backward(const CallInfo& info) {
  Args args(info);
  TurnAdvantagesBackward g{};
  read_turn_batch(args, g.batch);
  g.grad_advantages = args.array<const float>(g.batch.turns);
  g.grad_logps = args.array<float>(g.batch.tokens);
  return args.perform([=] { return turn_advantages_backward(g); });
}

CallResult bind_preference_loss(const CallInfo& info) {
  Args args(info);
  PreferenceLoss g{};
  read_preference_batch(args, g.batch);
  read_preference_options(args, g.options);
  g.logps = args.array<const float>(g.batch.tokens);
  g.ref_logps = args.optional_array<const float>(g.batch.tokens);
  g.sum_squared_probs = args.optional_array<const float>(g.batch.tokens);
  read_preference_out(args, g.out, g.batch);
  args.require(g.sum_squared_probs != nullptr || !g.options.use_weighting);
  return args.perform([=] { return preference_loss(g); });
}

CallResult bind_preference_update(const CallInfo& info) {
  Args args(info);
  PreferenceUpdate g{};
  read_head(args, g.head);
  read_labels(args, g.labels, g.head.rows);
  read_reference(args, g.reference, g.head.rows);
  read_preference_batch(args, g.batch);
  read_preference_options(args, g.options);
  g.logps = args.array<float>(g.head.rows);
  g.entropy = args.optional_array<float>(g.head.rows);
  g.argmax = args.optional_array<int32_t>(g.head.rows);
  g.sum_squared_probs = args.optional_array<float>(g.head.rows);
  read_preference_out(args, g.out, g.batch);
  read_head_gradients(args, g.gradients, g.head);
  args.require(!g.head.logits == !g.gradients.logits && g.batch.tokens == g.head.rows);
  return args.perform([=] { return preference_update(g); });
}

CallResult bind_unpaired_loss(const CallInfo& info) {
  Args args(info);
  UnpairedLoss g{};
  read_unpaired_batch(args, g.batch);
  read_unpaired_options(args, g.options);
  g.logps = args.array<const float>(g.batch.tokens);
  g.ref_logps = args.optional_array<const float>(g.batch.tokens);
  read_unpaired_out(args, g.out, g.batch);
  return args.perform([=] { return unpaired_loss(g); });
}

CallResult bind_unpaired_update(const CallInfo& info) {
  Args args(info);
  UnpairedUpdate g{};
  read_head(args, g.head);
  read_labels(args, g.labels, g.head.rows);
  read_reference(args, g.reference, g.head.rows);
  read_unpaired_batch(args, g.batch);
  read_unpaired_options(args, g.options);
  g.logps = args.array<float>(g.head.rows);
  g.entropy = args.optional_array<float>(g.head.rows);
  g.argmax = args.optional_array<int32_t>(g.head.rows);
  g.sum_squared_probs = args.optional_array<float>(g.head.rows);
  read_unpaired_out(args, g.out, g.batch);
  read_head_gradients(args, g.gradients, g.head);
  args.require(!g.head.logits == !g.gradients.logits && g.batch.tokens == g.head.rows);
  return args.perform([=] { return unpaired_update(g); });
}

CallResult bind_policy_gradient_update(const CallInfo& info) {
  Args args(info);
  PolicyGradientUpdate g{};
  read_head(args, g.head);
  read_labels(args, g.labels, g.head.rows);
  read_reference(args, g.reference, g.head.rows);
  read_policy_gradient_batch(args, g.batch);
  read_policy_gradient_options(args, g.options);
  g.logps = args.array<float>(g.head.rows);
  g.entropy = args.optional_array<float>(g.head.rows);
  g.argmax = args.optional_array<int32_t>(g.head.rows);
  g.sum_squared_probs = args.optional_array<float>(g.head.rows);
  read_policy_gradient_out(args, g.out);
  read_head_gradients(args, g.gradients, g.head);
  args.require(!g.head.logits == !g.gradients.logits && g.batch.tokens == g.head.rows && (g.batch.trajectory_offsets != nullptr || (!g.options.by_sequence() && g.options.ratio_level != RatioLevel::trajectory)) && (g.entropy != nullptr || g.options.entropy_coef == 0));
  return args.perform([=] { return policy_gradient_update(g); });
}

CallResult bind_head_divergence(const CallInfo& info) {
  Args args(info);
  HeadDivergence g{};
  read_head(args, g.head);
  read_token_labels(args, g.labels, g.head.rows);
  read_teacher(args, g.teacher, g.head.rows);
  g.type = args.choice<Divergence>(3);
  g.jsd_beta = args.number();
  g.divergence = args.array<float>(g.head.rows);
  g.saved = args.array<double>(g.head.rows * kSavedSize);
  args.require(fits_teacher(g.head, g.teacher));
  return args.perform([=] { return head_divergence(g); });
}

CallResult bind_head_divergence_backward(const CallInfo& info) {
  Args args(info);
  HeadDivergenceBackward g{};
  read_head(args, g.head);
  read_token_labels(args, g.labels, g.head.rows);
  read_teacher(args, g.teacher, g.head.rows);
  g.type = args.choice<Divergence>(3);
  g.jsd_beta = args.number();
  g.saved = args.array<const double>(g.head.rows * kSavedSize);
  g.grad_divergence = args.array<const float>(g.head.rows);
  read_head_gradients(args, g.gradients, g.head);
  args.require(fits_teacher(g.head, g.teacher) && !g.head.logits == !g.gradients.logits);
  return args.perform([=] { return head_divergence_backward(g); });
}

#ifndef SWEET_CUDA_ADDON
CallResult bind_first_non_finite(const CallInfo& info) {
  Args args(info);
  FirstNonFinite g{};
  g.dtype = args.choice<DType>(3);
  g.rows = args.integer();
  g.columns = args.integer();
  g.row_stride = args.integer();
  g.allow_neg_inf = args.boolean();
  g.data = args.array<const void>(g.rows > 0 ? (g.rows - 1) * g.row_stride + g.columns : 0);
  g.mask = args.optional_array<const uint8_t>(g.rows);
  return args.compute([=] { return first_non_finite(g); }, -1);
}
#endif

}  // namespace

const char* fault_name(Code code) {
  static const char* const names[] = {"ok", "memory", "shape", "label", "turnOffsets", "trajectoryOffsets", "emptyTurn", "emptyTrajectory", "chosen", "rejected", "samePair", "pairWeight", "zeroWeights", "tokenWeight", "unitWeight", "teacherIndex", "teacherTwice", "teacherLogps", "shardRows", "shardMismatch", "shardNoEntropy", "shardStatistics", "shardMask", "shardLabels", "shardCoverage", "device", "deviceGemm", "cancelled"};
  return names[static_cast<int>(code)];
}

void register_operations(Exports exports) {
  add_operation(exports, "logps", bind_logps, true);
  add_operation(exports, "logpsBackward", bind_logps_backward, true);
  add_operation(exports, "vocabParallelStats", bind_vocab_parallel_stats, true);
  add_operation(exports, "mergeVocabParallelStats", bind_merge_vocab_parallel_stats, false);
  add_operation(exports, "turnAdvantages", bind_turn_advantages, false);
  add_operation(exports, "turnAdvantagesBackward", bind_turn_advantages_backward, false);
  add_operation(exports, "preferenceLoss", bind_preference_loss, false);
  add_operation(exports, "preferenceUpdate", bind_preference_update, true);
  add_operation(exports, "unpairedLoss", bind_unpaired_loss, false);
  add_operation(exports, "unpairedUpdate", bind_unpaired_update, true);
  add_operation(exports, "policyGradientUpdate", bind_policy_gradient_update, true);
  add_operation(exports, "headDivergence", bind_head_divergence, true);
  add_operation(exports, "headDivergenceBackward", bind_head_divergence_backward, true);
#ifndef SWEET_CUDA_ADDON
  add_operation(exports, "firstNonFinite", bind_first_non_finite, false);
#endif
}

}  // namespace sweet
