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

/** Normal numbers, a row of -inf but for one word, a row with a NaN, outliers. */
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

void add_pairs(Random& random, int64_t units, bool few, std::vector<int32_t>& chosen, std::vector<int32_t>& rejected) {
  for (int64_t p = 0; p < (few ? units / 2 : 9); p++) {
    const int64_t better = few ? 2 * p : integer(random, 0, units);
    chosen.push_back(static_cast<int32_t>(better));
    rejected.push_back(static_cast<int32_t>(few ? 2 * p + 1 : (better + integer(random, 1, units)) % units));
  }
}

Head logits_head(const Inputs& in, const Stored& logits) {
  Head head{};
  head.dtype = logits.dtype;
  head.rows = in.rows;
  head.vocab_size = head.row_stride = in.vocab;
  head.temperature = 0.9;
  head.logits = logits.bytes.data();
  return head;
}

Head linear_head(const Inputs& in) {
  Head head{};
  head.dtype = in.dtype;
  head.rows = in.rows;
  head.vocab_size = in.vocab;
  head.hidden_size = in.width;
  head.temperature = 1.1;
  head.hidden = in.hidden.bytes.data();
  head.weight = in.weight.bytes.data();
  head.bias = in.bias.bytes.data();
  return head;
}

Labels narrow(const Inputs& in) { return {in.labels.data(), false, in.mask.data(), -100}; }
Labels wide(const Inputs& in) { return {in.wide_labels.data(), true, in.mask.data(), -100}; }

TurnBatch turns_of(const Inputs& in) {
  return {in.rows, in.mask.data(), in.turn_offsets.data(), static_cast<int64_t>(in.turn_offsets.size()) - 1, true,
          true};
}

PreferenceBatch batch_of(const Inputs& in, Units units) {
  PreferenceBatch batch{};
  batch.tokens = in.rows;
  batch.mask = in.mask.data();
  batch.turn_offsets = in.turn_offsets.data();
  batch.turns = static_cast<int64_t>(in.turn_offsets.size()) - 1;
  batch.trajectory_offsets = in.trajectory_offsets.data();
  batch.trajectories = static_cast<int64_t>(in.trajectory_offsets.size()) - 1;
  const bool of_turns = units == Units::turns;
  batch.pairs = {of_turns ? in.chosen_turns.data() : in.chosen.data(),
                 of_turns ? in.rejected_turns.data() : in.rejected.data(),
                 of_turns ? in.turn_weights.data() : in.weights.data(),
                 static_cast<int64_t>(of_turns ? in.chosen_turns.size() : in.chosen.size())};
  return batch;
}

PreferenceOptions options_of(const Inputs& in) {
  PreferenceOptions options{};
  options.normalization = Normalization::turn_mean;
  options.allow_empty_turns = true;
  options.pair_loss = {LossType::sigmoid, 0.7, 0.1};
  options.nll_coef = in.nll_coef;
  return options;
}

PreferenceOut out_of(Outputs& out, Units units) {
  std::vector<float>* const pairs = units == Units::turns ? out.turn_pairs : out.pairs;
  return {out.scalars,          pairs[0].data(), pairs[1].data(),
          pairs[2].data(),      pairs[3].data(), out.turn_advantages.data(),
          out.grad_logps.data()};
}

HeadGradients gradients_of(Outputs& out) {
  HeadGradients gradients{};
  gradients.logits = out.grad_logits.data();
  gradients.hidden = out.grad_hidden.data();
  gradients.weight = out.grad_weight.data();
  gradients.bias = out.grad_bias.data();
  return gradients;
}

LogpsOut logps_of(Outputs& out) { return {out.logps.data(), out.lse.data(), out.entropy.data()}; }

template <Units kUnits, bool kLinear>
Status update(const Inputs& in, Outputs& out) {
  Update given{};
  given.head = kLinear ? linear_head(in) : logits_head(in, in.logits);
  given.labels = kLinear ? wide(in) : narrow(in);
  if (kLinear) given.ref_logps = in.ref_logps.data();
  given.reference = logits_head(in, in.ref_logits);
  given.batch = batch_of(in, kUnits);
  given.options = options_of(in);
  const UpdateOut results{out.logps.data(), out_of(out, kUnits), gradients_of(out)};
  return kUnits == Units::turns ? policy_update(given, results) : critic_update(given, results);
}

template <Units kUnits>
Status preference(const Inputs& in, Outputs& out) {
  const auto loss = kUnits == Units::turns ? turn_preference : trajectory_preference;
  return loss(batch_of(in, kUnits), options_of(in), in.logps.data(), in.ref_logps.data(), out_of(out, kUnits));
}

}  // namespace

Inputs::Inputs(uint64_t seed, int64_t n, int64_t v, int64_t h, DType type, bool few_pairs)
    : rows(n),
      vocab(v),
      width(h),
      dtype(type),
      logits(type, {}),
      hidden(type, {}),
      weight(type, {}),
      bias(type, {}),
      ref_logits(DType::bfloat16, {}),
      nll_coef(few_pairs ? 0 : 0.2) {
  Random random(seed);
  logits = Stored(type, hard_logits(random, n, v));
  ref_logits = Stored(DType::bfloat16, normals(random, n * v, 3));
  hidden = Stored(type, normals(random, n * h, 1));
  weight = Stored(type, normals(random, v * h, 0.5));
  bias = Stored(type, normals(random, v, 1));
  for (int64_t i = 0; i < n; i++) {
    mask.push_back(n < 3 || i % 5 != 1);
    labels.push_back(i % 7 == 3 ? -100 : static_cast<int32_t>(integer(random, 0, v)));
    wide_labels.push_back(labels.back());
  }
  const int64_t trajectories = 4, turns = 9;
  turn_offsets = offsets(random, turns, n);
  trajectory_offsets = offsets(random, trajectories, turns);
  add_pairs(random, trajectories, few_pairs, chosen, rejected);
  if (few_pairs) {
    chosen_turns = {0, 8}, rejected_turns = {7, 3};
  } else {
    add_pairs(random, turns, false, chosen_turns, rejected_turns);
  }
  for (size_t p = 0; p < chosen.size(); p++) weights.push_back(0.5f + static_cast<float>(p % 3));
  turn_weights.assign(chosen_turns.size(), 0.75f);
  logps = floats(random, n);
  ref_logps = floats(random, n);
  grad_logps = floats(random, n);
  grad_advantages = floats(random, turns);

  lse.resize(size(n));
  linear_lse.resize(size(n));
  std::vector<float> ignored(size(n));
  token_logps(logits_head(*this, logits), narrow(*this), {ignored.data(), lse.data(), nullptr});
  linear_logps(linear_head(*this), narrow(*this), {ignored.data(), linear_lse.data(), nullptr});
  partials.resize(size(kShardHeaderSize + n * kShardStatsSize));
  sweet::partials(linear_head(*this), narrow(*this), true, partials.data());
}

std::string Inputs::name() const {
  return std::to_string(rows) + " x " + std::to_string(width) + " x " + std::to_string(vocab) + " " + name_of(dtype);
}

Outputs::Outputs(const Inputs& in)
    : logps(size(in.rows), kNotWritten),
      lse(logps),
      entropy(logps),
      grad_logps(logps),
      turn_advantages(in.turn_offsets.size() - 1, kNotWritten),
      of_turns(turn_advantages),
      grad_hidden(size(in.rows * in.width), kNotWritten),
      grad_weight(size(in.vocab * in.width), kNotWritten),
      grad_bias(size(in.vocab), kNotWritten),
      grad_logits(in.logits.bytes.size(), 42),
      partials(in.partials.size(), kNotWritten) {
  for (auto& each : pairs) each.assign(in.chosen.size(), kNotWritten);
  for (auto& each : turn_pairs) each.assign(in.chosen_turns.size(), kNotWritten);
}

namespace {

/** The same bits, of NaN as well. */
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

}  // namespace

bool Outputs::operator==(const Outputs& other) const {
  bool same = memcmp(scalars, other.scalars, sizeof(scalars)) == 0 && same_bits(grad_logits, other.grad_logits) &&
              same_bits(partials, other.partials);
  for (int i = 0; i < 4; i++) {
    same = same && same_bits(pairs[i], other.pairs[i]) && same_bits(turn_pairs[i], other.turn_pairs[i]);
  }
  for (const auto part :
       {&Outputs::logps, &Outputs::lse, &Outputs::entropy, &Outputs::grad_logps, &Outputs::turn_advantages,
        &Outputs::of_turns, &Outputs::grad_hidden, &Outputs::grad_weight, &Outputs::grad_bias}) {
    same = same && same_bits(this->*part, other.*part);
  }
  return same;
}

const std::vector<Operation>& operations() {
  static const std::vector<Operation> list = {
      {"tokenLogps",
       [](const Inputs& in, Outputs& out) { return token_logps(logits_head(in, in.logits), wide(in), logps_of(out)); }},
      {"tokenLogpsBackward",
       [](const Inputs& in, Outputs& out) {
         const LogpsBackward backward{in.lse.data(), in.grad_logps.data(), gradients_of(out)};
         return token_logps_backward(logits_head(in, in.logits), narrow(in), backward);
       }},
      {"linearLogps",
       [](const Inputs& in, Outputs& out) { return linear_logps(linear_head(in), narrow(in), logps_of(out)); }},
      {"linearLogpsBackward",
       [](const Inputs& in, Outputs& out) {
         const LogpsBackward backward{in.linear_lse.data(), in.grad_logps.data(), gradients_of(out)};
         return linear_logps_backward(linear_head(in), wide(in), backward);
       }},
      {"partials of logits",
       [](const Inputs& in, Outputs& out) {
         Head head = logits_head(in, in.logits);
         head.vocab_offset = 3, head.total_vocab = in.vocab + 5;
         return partials(head, wide(in), true, out.partials.data());
       }},
      {"partials of hidden states",
       [](const Inputs& in, Outputs& out) { return partials(linear_head(in), narrow(in), true, out.partials.data()); }},
      {"mergePartials",
       [](const Inputs& in, Outputs& out) {
         return merge_partials(in.partials.data(), 1, in.rows, wide(in), logps_of(out));
       }},
      {"turnAdvantages",
       [](const Inputs& in, Outputs& out) {
         return turn_advantages(turns_of(in), in.logps.data(), in.ref_logps.data(), out.of_turns.data());
       }},
      {"turnAdvantagesBackward",
       [](const Inputs& in, Outputs& out) {
         return turn_advantages_backward(turns_of(in), in.grad_advantages.data(), out.grad_logps.data());
       }},
      {"trajectoryPreference", preference<Units::trajectories>},
      {"turnPreference", preference<Units::turns>},
      {"criticUpdate of logits", update<Units::trajectories, false>},
      {"policyUpdate of logits", update<Units::turns, false>},
      {"criticUpdate of hidden states", update<Units::trajectories, true>},
      {"policyUpdate of hidden states", update<Units::turns, true>},
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
