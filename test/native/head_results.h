// What the checks of heads share: labels and results in device memory, vocabulary shards, the bounds of linear heads.
#pragma once

#include <vector>

#include "../../native/logps.h"
#include "../../native/vocab_parallel.h"
#include "checks.h"
#include "device_array.h"

/** Results of the forward pass. */
struct RowResults {
  DeviceArray<float> logps, lse, entropy, squares;  // [N]
  DeviceArray<int32_t> argmax;

  explicit RowResults(int64_t rows)
      : logps(oracle::size(rows)),
        lse(oracle::size(rows)),
        entropy(oracle::size(rows)),
        squares(oracle::size(rows)),
        argmax(oracle::size(rows)) {}

  sweet::LogpsOut out() const { return {logps.get(), lse.get(), entropy.get(), argmax.get(), squares.get()}; }

  void compare(Checks& checks, const oracle::Head& head, const std::vector<int32_t>& labels) const {
    std::vector<float> values[] = {logps.values(), lse.values(), entropy.values(), squares.values()};
    std::vector<int32_t> indices = argmax.values();
    compare_rows(checks, head, labels.data(),
                 {values[0].data(), values[1].data(), values[2].data(), indices.data(), values[3].data()});
  }

  oracle::Array<double> lse_values() const {
    const std::vector<float> values = lse.values();
    return {values.begin(), values.end()};
  }
};

/**
 * Labels of every kind: token ids, ignored ones, and masked ones that are no token id. Gradients at the results of the
 * rows: at the log-probs alone, or at all of them.
 */
struct RowLabels {
  std::vector<int32_t> checked;                           // as in layout.h
  std::vector<float> grad_logps, grad_entropy, grad_lse;  // [N] or empty
  DeviceArray<int64_t> wide;
  DeviceArray<int32_t> narrow;
  DeviceArray<uint8_t> mask;
  DeviceArray<float> device_grad_logps, device_grad_entropy, device_grad_lse;

  RowLabels(Checks& checks, int64_t rows, int64_t vocab, double grad_scale, bool all_gradients)
      : wide(oracle::size(rows)),
        narrow(oracle::size(rows)),
        mask(oracle::size(rows)),
        device_grad_logps(oracle::size(rows)),
        device_grad_entropy(oracle::size(rows)),
        device_grad_lse(oracle::size(rows)) {
    std::vector<int32_t> given;
    std::vector<uint8_t> unmasked;
    for (int64_t i = 0; i < rows; i++) {
      const bool ignored = rows > 2 && i % 5 == 3, masked = rows > 2 && i % 5 == 1;
      const int32_t label = static_cast<int32_t>(checks.integer(0, vocab));
      checked.push_back(ignored ? sweet::kIgnored : masked ? sweet::kMasked : label);
      given.push_back(ignored ? -100 : masked ? static_cast<int32_t>(vocab + 7) : label);
      unmasked.push_back(masked ? 0 : static_cast<uint8_t>(checks.integer(1, 256)));
      const auto push = [&](std::vector<float>& to) { to.push_back(static_cast<float>(checks.normal(grad_scale))); };
      push(grad_logps);
      if (all_gradients) push(grad_entropy), push(grad_lse);
    }
    narrow.set(given);
    wide.set({given.begin(), given.end()});
    mask.set(unmasked);
    device_grad_logps.set(grad_logps);
    if (!all_gradients) return;
    device_grad_entropy.set(grad_entropy);
    device_grad_lse.set(grad_lse);
  }

  bool has_all() const { return !grad_lse.empty(); }

  sweet::LogpsBackward backward(const sweet::Head& head, bool as_wide, const RowResults& results) const {
    sweet::LogpsBackward call{};
    call.head = head, call.labels = labels(as_wide), call.lse = results.lse.get();
    call.grad_logps = device_grad_logps.get();
    if (!has_all()) return call;
    call.grad_entropy = device_grad_entropy.get(), call.entropy = results.entropy.get();
    call.grad_lse = device_grad_lse.get();
    return call;
  }

  oracle::Upstream upstream(const std::vector<float>& entropy) const {
    if (!has_all()) return {grad_logps.data()};
    return {grad_logps.data(), grad_entropy.data(), entropy.data(), grad_lse.data()};
  }

  /** At least the largest entry of |gradient| of each row. */
  std::vector<float> bounds(const std::vector<float>& entropy) const {
    std::vector<float> bounds = grad_logps;
    for (size_t i = 0; has_all() && i < bounds.size(); i++) {
      bounds[i] = std::fabs(grad_logps[i]) + std::fabs(grad_lse[i]) + std::fabs(grad_entropy[i]) * (entropy[i] + 1);
    }
    return bounds;
  }

  sweet::Labels labels(bool as_wide) const {
    return {as_wide ? static_cast<const void*>(wide.get()) : narrow.get(), as_wide, mask.get(), -100};
  }
};

/** Up to three shards, the middle one a single entry. */
inline std::vector<sweet::Head> shards_of(const sweet::Head& head) {
  std::vector<sweet::Head> shards;
  const int64_t ends[] = {0, head.vocab_size / 3, head.vocab_size / 3 + 1, head.vocab_size};
  for (int s = 0; s < 3; s++) {
    if (ends[s] == ends[s + 1]) continue;
    sweet::Head shard = head;
    const int64_t first = ends[s];
    const auto from = [&](const void* data, sweet::DType dtype) -> const void* {
      return data ? static_cast<const char*>(data) + first * sweet::bytes_of(dtype) : nullptr;
    };
    shard.logits = from(head.logits, head.dtype);
    shard.weight.data = head.weight.at(first, 0);
    shard.bias = from(head.bias, head.bias_dtype);
    shard.vocab_offset = first;
    shard.vocab_size = ends[s + 1] - first;
    shard.total_vocab = head.vocab_size;
    shards.push_back(shard);
  }
  return shards;
}

/** Results of the whole head from the statistics of its shards, which lie in reverse order. */
inline void merge_shards(Checks& checks, const sweet::Head& head, const sweet::Labels& labels,
                         const sweet::LogpsOut& out) {
  const std::vector<sweet::Head> shards = shards_of(head);
  const sweet::ShardFormat format{out.entropy != nullptr, out.argmax != nullptr, out.sum_squared_probs != nullptr};
  const int64_t size = sweet::shard_elements(head.rows, format), count = static_cast<int64_t>(shards.size());
  const DeviceArray<double> all(oracle::size(count * size));
  for (int64_t s = 0; s < count; s++) {
    double* const stats = all.get() + (count - 1 - s) * size;
    checks.ok(sweet::vocab_parallel_stats({shards[oracle::size(s)], labels, format, stats}));
  }
  checks.ok(sweet::merge_vocab_parallel_stats({head.rows, count, format, all.get(), labels, out}));
}

/** Gradients of a linear head; all NaN at first. */
struct LinearGradients {
  struct Values {
    std::vector<float> hidden, weight, bias;
  };

  DeviceArray<float> hidden, weight, bias;  // [N, H], [V, H], [V] or empty

  explicit LinearGradients(const sweet::Head& head)
      : hidden(std::vector<float>(oracle::size(head.rows * head.hidden_size), NAN)),
        weight(std::vector<float>(oracle::size(head.vocab_size * head.hidden_size), NAN)),
        bias(std::vector<float>(oracle::size(head.bias ? head.vocab_size : 0), NAN)),
        has_bias_(head.bias != nullptr) {}

  sweet::HeadGradients out() const {
    return {nullptr, hidden.get(), weight.get(), has_bias_ ? bias.get() : nullptr, false};
  }
  /** Where the weight or the hidden states are frozen. */
  sweet::HeadGradients of_hidden() const { return {nullptr, hidden.get(), nullptr, nullptr, false}; }
  sweet::HeadGradients of_weight() const {
    return {nullptr, nullptr, weight.get(), has_bias_ ? bias.get() : nullptr, false};
  }
  Values values() const { return {hidden.values(), weight.values(), bias.values()}; }

 private:
  const bool has_bias_;
};

/** Of `ours` those that are not empty. before (may be null): what the gradients were added to. */
inline void compare_linear_gradients(Checks& checks, const oracle::Head& head, const oracle::Gradients& of_logits,
                                     const std::vector<int32_t>& labels, LinearGradients::Values ours,
                                     const LinearGradients::Values* before = nullptr) {
  const Before added = before ? Before{before->hidden.data(), before->weight.data(), before->bias.data()} : Before{};
  const auto data = [](std::vector<float>& values) { return values.empty() ? nullptr : values.data(); };
  compare_head_gradients(checks, head, of_logits, labels.data(),
                         {nullptr, data(ours.hidden), data(ours.weight), data(ours.bias), before != nullptr}, added);
}

/** The gradients that there are, of those of the whole head. */
inline bool same_unless_frozen(const LinearGradients::Values& ours, const LinearGradients::Values& whole,
                               const sweet::HeadGradients& of) {
  return same_bits(of.hidden ? ours.hidden : whole.hidden, whole.hidden) &&
         same_bits(of.weight ? ours.weight : whole.weight, whole.weight) &&
         same_bits(of.bias ? ours.bias : whole.bias, whole.bias);
}

/** A linear head of random numbers, without its data. Their errors are smaller than the bounds of long sums. */
inline oracle::Head linear_oracle(sweet::DType dtype, int64_t rows, int64_t vocab, int64_t hidden_size,
                                  double temperature) {
  oracle::Head head;
  head.rows = rows, head.vocab = vocab, head.hidden_size = hidden_size, head.temperature = temperature;
  head.product_error = [](int64_t n, bool) { return 2 * std::sqrt(n) * oracle::kU; };
  head.most_off = 3e-6;
  // Tensor cores truncate where others round.
  if (!kOnCpu && dtype != sweet::DType::float32) {
    head.product_error = [](int64_t n, bool) { return 4 * std::sqrt(n) * oracle::kU; };
  }
  return head;
}

inline void project(oracle::Head& head) {
  head.project();
  for (double& error : head.errors) error = std::min(error, 1e-5 * head.temperature);
}

/**
 * Adds what gradients of the logits are off where they are stored in 16 bits for the products that follow; `scaled`:
 * they are scaled after that, so that half a unit in their last place may become a whole one.
 */
inline void add_storage_rounding(oracle::Gradients& of_logits, sweet::DType dtype, double temperature,
                                 const std::vector<float>& grad_logps, bool scaled = false) {
  if constexpr (kOnCpu) {
    if (dtype != sweet::DType::bfloat16 || strcmp(active_backend(), "avx512bf16") != 0) return;
  }
  double largest = 0;
  for (const float g : grad_logps) largest = std::max(largest, std::fabs(g / temperature));
  for (size_t i = 0; i < of_logits.values.size(); i++) {
    const double value = of_logits.values[i];
    if (!std::isfinite(value)) continue;
    if (dtype == sweet::DType::bfloat16) of_logits.bounds[i] += oracle::kBfloat16.ulp(value) * (scaled ? 1 : 0.5);
    // float16 has 11 bits of the gradient and its smallest number is 2^-38 of the largest gradient.
    if (dtype == sweet::DType::float16) of_logits.bounds[i] += std::fabs(value) * 0x1p-11 + largest * 0x1p-38;
  }
}
