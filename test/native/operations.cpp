#include "operations.h"

#include <algorithm>
#include <random>

using namespace sweet;

namespace {

size_t size(int64_t n) { return static_cast<size_t>(n); }

using Random = std::mt19937_64;

int64_t integer(Random& random, int64_t begin, int64_t end) {
  return begin + static_cast<int64_t>(random() % static_cast<uint64_t>(end - begin));
}

std::vector<double> normals(Random& random, int64_t count, double scale) {
  std::normal_distribution<double> normal(0, scale);
  std::vector<double> values(size(count));
  for (double& x : values) x = normal(random);
  return values;
}

std::vector<float> floats(Random& random, int64_t count) {
  const std::vector<double> values = normals(random, count, 2);
  return {values.begin(), values.end()};
}

/** Normal numbers, a row of -inf but for one entry, a row with a NaN, outliers. */
std::vector<double> hard_logits(Random& random, int64_t rows, int64_t vocab) {
  std::vector<double> values = normals(random, rows * vocab, 4);
  for (int64_t i = 0; i < rows; i++) {
    double* const row = &values[size(i * vocab)];
    if (i % 17 == 5) std::fill_n(row, vocab - 1, -INFINITY);
    if (i % 17 == 7) row[vocab / 2] = NAN;
    if (i % 17 == 9) row[vocab - 1] = 80;
    if (i % 17 == 11) row[0] = -3e4;
  }
  return values;
}

std::vector<int32_t> offsets(Random& random, int64_t groups, int64_t total) {
  std::vector<int32_t> result = {0};
  for (int64_t k = 1; k < groups; k++) result.push_back(static_cast<int32_t>(integer(random, 0, total + 1)));
  result.push_back(static_cast<int32_t>(total));
  std::sort(result.begin(), result.end());
  return result;
}

/** Pairs of items; disjoint: no item is in two of them. */
PairArrays pairs_of(Random& random, int64_t items, bool disjoint) {
  PairArrays pairs;
  for (int64_t p = 0; p < (disjoint ? 2 : 9); p++) {
    const int64_t chosen = disjoint ? p : integer(random, 0, items);
    const int64_t rejected = disjoint ? items - 1 - p : (chosen + integer(random, 1, items)) % items;
    pairs.chosen.push_back(static_cast<int32_t>(chosen));
    pairs.rejected.push_back(static_cast<int32_t>(rejected));
    pairs.weights.push_back(0.5f + static_cast<float>(p % 3));
  }
  return pairs;
}

Head logits_head(const Inputs& in, const Stored& logits) {
  Head head{};
  head.dtype = logits.dtype;
  head.rows = in.rows;
  head.vocab_size = head.row_stride = in.vocab;
  head.logits_length = in.rows * in.vocab;
  head.temperature = 0.9;
  head.logits = logits.bytes.data();
  return head;
}

Head linear_head(const Inputs& in) {
  Head head{};
  head.dtype = in.dtype;
  head.rows = in.rows;
  head.vocab_size = in.vocab;
  head.hidden_size = in.hidden_size;
  head.temperature = 1.1;
  head.hidden = {in.hidden.bytes.data(), head.dtype, in.hidden_size, 1};
  head.weight = {in.weight.bytes.data(), head.dtype, in.hidden_size, 1};
  if (in.hidden_size % 2 == 1) head.weight.row_stride = 1, head.weight.column_stride = in.vocab;  // [H, V]
  head.bias = in.bias.bytes.data();
  head.bias_dtype = head.dtype;
  return head;
}

Labels narrow(const Inputs& in) { return {in.labels.data(), false, in.mask.data(), -100}; }
Labels wide(const Inputs& in) { return {in.wide_labels.data(), true, in.mask.data(), -100}; }

int64_t groups(const std::vector<int32_t>& offsets) { return static_cast<int64_t>(offsets.size()) - 1; }

Labels weighted(Labels labels, const Inputs& in) {
  labels.weights = in.token_weights.data();
  return labels;
}

TurnBatch turns_of(const Inputs& in) {
  return {in.rows, groups(in.turn_offsets), weighted(narrow(in), in), in.turn_offsets.data(), true, true};
}

PreferenceBatch batch_of(const Inputs& in, PreferenceLevel level) {
  const bool of_turns = level == PreferenceLevel::turn;
  const PairArrays& pairs = in.pairs[static_cast<int>(level)];
  return {
      level,
      in.rows,
      groups(in.turn_offsets),
      of_turns ? 0 : groups(in.trajectory_offsets),
      of_turns ? wide(in) : weighted(wide(in), in),
      in.turn_offsets.data(),
      of_turns ? nullptr : in.trajectory_offsets.data(),
      {pairs.chosen.data(), pairs.rejected.data(), pairs.weights.data(), static_cast<int64_t>(pairs.chosen.size())}};
}

PreferenceOptions options_of(const Inputs& in) {
  PreferenceOptions options{};
  options.normalization = Normalization::turn_mean;
  options.allow_empty_turns = true;
  options.pair_loss = pair_loss_of(LossType::sigmoid, 0.7, 0.1);
  options.nll_coef = in.nll_coef;
  return options;
}

PreferenceOut out_of(Outputs& out, PreferenceLevel level) {
  std::vector<float>* const pairs = out.pairs[static_cast<int>(level)];
  return {out.scalars,          pairs[0].data(), pairs[1].data(),
          pairs[2].data(),      pairs[3].data(), out.turn_advantages.data(),
          out.grad_logps.data()};
}

HeadGradients gradients_of(Outputs& out) {
  return {out.grad_logits.data(), out.grad_hidden.data(), out.grad_weight.data(), out.grad_bias.data(), false};
}

LogpsOut logps_of(Outputs& out) {
  return {out.logps.data(), out.lse.data(), out.entropy.data(), out.argmax.data(), out.squares.data()};
}

constexpr ShardFormat kFormat = {true, true, true};

template <PreferenceLevel kLevel, bool kLinear>
Status update(const Inputs& in, Outputs& out) {
  PreferenceUpdate call{};
  call.head = kLinear ? linear_head(in) : logits_head(in, in.logits);
  call.labels = kLinear ? wide(in) : narrow(in);
  if (kLinear) call.reference.logps = in.ref_logps.data();
  call.reference.head = logits_head(in, in.ref_logits);
  call.batch = batch_of(in, kLevel);
  call.options = options_of(in);
  call.logps = out.logps.data();
  call.entropy = out.entropy.data(), call.argmax = out.argmax.data(), call.sum_squared_probs = out.squares.data();
  call.out = out_of(out, kLevel);
  call.gradients = gradients_of(out);
  return preference_update(call);
}

template <PreferenceLevel kLevel>
Status loss(const Inputs& in, Outputs& out) {
  return preference_loss(
      {batch_of(in, kLevel), options_of(in), in.logps.data(), in.ref_logps.data(), nullptr, out_of(out, kLevel)});
}

}  // namespace

Inputs::Inputs(uint64_t seed, int64_t n, int64_t v, int64_t h, DType type, bool disjoint_pairs)
    : rows(n),
      vocab(v),
      hidden_size(h),
      dtype(type),
      logits(type, {}),
      hidden(type, {}),
      weight(type, {}),
      bias(type, {}),
      ref_logits(DType::bfloat16, {}),
      nll_coef(disjoint_pairs ? 0 : 0.2) {
  Random random(seed);
  logits = Stored(type, hard_logits(random, n, v));
  ref_logits = Stored(DType::bfloat16, normals(random, n * v, 3));
  hidden = Stored(type, normals(random, n * h, 1));
  weight = Stored(type, normals(random, v * h, 0.5));
  bias = Stored(type, normals(random, v, 1));
  for (int64_t i = 0; i < n; i++) {
    mask.push_back(n < 3 || i % 5 != 1);
    token_weights.push_back(mask.back() ? 0.5f * static_cast<float>((i + 1) % 4) : -1.0f);
    labels.push_back(i % 7 == 3 ? -100 : static_cast<int32_t>(integer(random, 0, v)));
    wide_labels.push_back(labels.back());
  }
  const int64_t trajectories = 4, turns = 9;
  turn_offsets = offsets(random, turns, n);
  trajectory_offsets = offsets(random, trajectories, turns);
  pairs[static_cast<int>(PreferenceLevel::trajectory)] = pairs_of(random, trajectories, disjoint_pairs);
  pairs[static_cast<int>(PreferenceLevel::turn)] = pairs_of(random, turns, disjoint_pairs);
  logps = floats(random, n);
  ref_logps = floats(random, n);
  grad_logps = floats(random, n);
  grad_advantages = floats(random, turns);

  lse.resize(size(n));
  linear_lse.resize(size(n));
  std::vector<float> unused(size(n));
  sweet::logps({logits_head(*this, logits), narrow(*this), {unused.data(), lse.data(), nullptr}});
  sweet::logps({linear_head(*this), narrow(*this), {unused.data(), linear_lse.data(), nullptr}});
  shard_stats.resize(size(shard_elements(n, kFormat)));
  vocab_parallel_stats({linear_head(*this), narrow(*this), kFormat, shard_stats.data()});
}

std::string Inputs::name() const {
  return std::to_string(rows) + " x " + std::to_string(hidden_size) + " x " + std::to_string(vocab) + " " +
         name_of(dtype);
}

Outputs::Outputs(const Inputs& in)
    : logps(size(in.rows), kNotWritten),
      lse(logps),
      entropy(logps),
      squares(logps),
      grad_logps(logps),
      turn_advantages(in.turn_offsets.size() - 1, kNotWritten),
      advantages(turn_advantages),
      grad_hidden(size(in.rows * in.hidden_size), kNotWritten),
      grad_weight(size(in.vocab * in.hidden_size), kNotWritten),
      grad_bias(size(in.vocab), kNotWritten),
      argmax(logps.size(), 42),
      grad_logits(in.logits.bytes.size(), 42),
      shard_stats(in.shard_stats.size(), kNotWritten) {
  for (const int level : {0, 1}) {
    for (auto& each : pairs[level]) each.assign(in.pairs[level].chosen.size(), kNotWritten);
  }
}

bool Outputs::operator==(const Outputs& other) const {
  const auto same = [](const auto& a, const auto& b) {
    return a.size() == b.size() && (a.empty() || memcmp(a.data(), b.data(), a.size() * sizeof(a[0])) == 0);
  };
  bool all = memcmp(scalars, other.scalars, sizeof(scalars)) == 0 && same(grad_logits, other.grad_logits) &&
             same(shard_stats, other.shard_stats) && same(argmax, other.argmax);
  for (int i = 0; i < 8; i++) all = all && same(pairs[i / 4][i % 4], other.pairs[i / 4][i % 4]);
  for (const auto part : {&Outputs::logps, &Outputs::lse, &Outputs::entropy, &Outputs::squares, &Outputs::grad_logps,
                          &Outputs::turn_advantages, &Outputs::advantages, &Outputs::grad_hidden, &Outputs::grad_weight,
                          &Outputs::grad_bias}) {
    all = all && same(this->*part, other.*part);
  }
  return all;
}

const std::vector<Operation>& operations() {
  static const std::vector<Operation> list = {
      {"logps of logits",
       [](const Inputs& in, Outputs& out) {
         return logps({logits_head(in, in.logits), wide(in), logps_of(out)});
       }},
      {"logps_backward of logits",
       [](const Inputs& in, Outputs& out) {
         return logps_backward({logits_head(in, in.logits), narrow(in), in.lse.data(), in.grad_logps.data(),
                                in.grad_logps.data(), in.lse.data(), in.grad_logps.data(), gradients_of(out)});
       }},
      {"logps of hidden states",
       [](const Inputs& in, Outputs& out) {
         return logps({linear_head(in), narrow(in), logps_of(out)});
       }},
      {"logps_backward of hidden states",
       [](const Inputs& in, Outputs& out) {
         return logps_backward({linear_head(in), wide(in), in.linear_lse.data(), in.grad_logps.data(),
                                in.grad_logps.data(), in.linear_lse.data(), in.grad_logps.data(), gradients_of(out)});
       }},
      {"vocab_parallel_stats of logits",
       [](const Inputs& in, Outputs& out) {
         Head head = logits_head(in, in.logits);
         head.vocab_offset = 3, head.total_vocab = in.vocab + 5;
         return vocab_parallel_stats({head, wide(in), kFormat, out.shard_stats.data()});
       }},
      {"vocab_parallel_stats of hidden states",
       [](const Inputs& in, Outputs& out) {
         return vocab_parallel_stats({linear_head(in), narrow(in), kFormat, out.shard_stats.data()});
       }},
      {"merge_vocab_parallel_stats",
       [](const Inputs& in, Outputs& out) {
         return merge_vocab_parallel_stats({in.rows, 1, kFormat, in.shard_stats.data(), wide(in), logps_of(out)});
       }},
      {"turn_advantages",
       [](const Inputs& in, Outputs& out) {
         return turn_advantages({turns_of(in), in.logps.data(), in.ref_logps.data(), out.advantages.data()});
       }},
      {"turn_advantages_backward",
       [](const Inputs& in, Outputs& out) {
         return turn_advantages_backward({turns_of(in), in.grad_advantages.data(), out.grad_logps.data()});
       }},
      {"preference_loss of trajectories", loss<PreferenceLevel::trajectory>},
      {"preference_loss of turns", loss<PreferenceLevel::turn>},
      {"preference_update of trajectories, logits", update<PreferenceLevel::trajectory, false>},
      {"preference_update of turns, logits", update<PreferenceLevel::turn, false>},
      {"preference_update of trajectories, hidden states", update<PreferenceLevel::trajectory, true>},
      {"preference_update of turns, hidden states", update<PreferenceLevel::turn, true>},
  };
  return list;
}

std::vector<Inputs> hard_inputs(uint64_t seed, bool small) {
  std::vector<Inputs> inputs;
  inputs.emplace_back(seed, 150, 1031, 5, DType::float32, false);
  inputs.emplace_back(seed, 4, 40009, 3, DType::float16, false);
  inputs.emplace_back(seed, 600, 67, 129, DType::bfloat16, true);
  if (small) return inputs;
  inputs.emplace_back(seed, 150, 1031, 19, DType::float16, false);
  inputs.emplace_back(seed, 150, 1031, 20, DType::bfloat16, false);
  inputs.emplace_back(seed, 1, 1, 1, DType::float32, false);
  inputs.emplace_back(seed, 600, 131, 130, DType::float32, true);
  return inputs;
}
