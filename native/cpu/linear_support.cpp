// Divergences of a linear head from a top-k teacher that is renormalised: K products of a row forward, and gradients of
// the K rows of the weight that it has.
#include "active.h"
#include "divergence.h"
#include "linear_chunks.h"

namespace sweet {
namespace {

constexpr int64_t kColumns = 64;

/** The sum of a[k] * b[k], in float64. */
double dot(const float* a, const float* b, int64_t n) {
  constexpr int64_t kSums = 8;
  double sums[kSums] = {};
  int64_t k = 0;
  for (; k + kSums <= n; k += kSums) {
    for (int64_t j = 0; j < kSums; j++) sums[j] += static_cast<double>(a[k + j]) * b[k + j];
  }
  for (; k < n; k++) sums[0] += static_cast<double>(a[k]) * b[k];
  for (int64_t j = 1; j < kSums; j++) sums[0] += sums[j];
  return sums[0];
}

float bias_at(const Head& head, int64_t v) {
  float bias = 0;
  if (head.bias) {
    const char* const at = static_cast<const char*>(head.bias) + v * bytes_of(head.bias_dtype);
    active_kernels().widen(at, head.bias_dtype, 1, &bias);
  }
  return bias;
}

/** The logits of the support of a row, [K]; rows: [2, H] scratch. */
void support_logits(const Head& head, const TopK& top_k, int64_t i, float* rows, float* logits) {
  const int64_t hidden_size = head.hidden_size;
  const Softcap cap(head.softcap);
  widen_row(head.hidden, i, 0, hidden_size, rows);
  for (int64_t k = 0; k < top_k.k() && !cancelled(); k++) {
    const int32_t v = top_k.indices(i)[k];
    widen_row(head.weight, v, 0, hidden_size, rows + hidden_size);
    logits[k] = static_cast<float>(bias_at(head, v) + dot(rows, rows + hidden_size, hidden_size));
    if (cap.is_on()) active_kernels().softcap(logits + k, DType::float32, 1, cap.inverse, logits + k);
  }
}

}  // namespace

Status linear_support(const HeadDivergence& call, const TopK& top_k, const int32_t* labels) {
  const Head& head = call.head;
  const int64_t k_count = top_k.k();
  const int workers = threads();
  Scratch<float> rows(workers * 2 * head.hidden_size), logits(workers * k_count);
  if (!rows.ok() || !logits.ok()) return {Code::memory};
  parallel_for(workers, head.rows, head.rows * k_count * head.hidden_size, [&](int64_t i, int worker) {
    if (labels[i] < 0) return write_row(call, i, 0, {});
    float* const of_row = logits.get() + worker * k_count;
    support_logits(head, top_k, i, rows.get() + worker * 2 * head.hidden_size, of_row);
    const TopKRow row(top_k, i, of_row, {}, kernel_temperature(head), call.type, call.jsd_beta);
    write_row(call, i, row.divergence, row.saved);
  });
  return ended();
}

Status linear_support(const HeadDivergenceBackward& call, const TopK& top_k, const int32_t* labels) {
  const Head& head = call.head;
  const HeadGradients& out = call.gradients;
  const int64_t k_count = top_k.k(), hidden_size = head.hidden_size;
  const int workers = threads();
  Scratch<float> rows(workers * 2 * hidden_size), gradients(head.rows * k_count);
  if (!rows.ok() || !gradients.ok()) return {Code::memory};
  parallel_for(workers, head.rows, head.rows * k_count * hidden_size, [&](int64_t i, int worker) {
    if (labels[i] < 0) return;
    float* const of_row = gradients.get() + i * k_count;
    support_logits(head, top_k, i, rows.get() + worker * 2 * hidden_size, of_row);
    const TopKGradient of = top_k_gradient(call, top_k, i);
    for (int64_t k = 0; k < k_count; k++) {
      const double slope = Softcap(head.softcap).slope(of_row[k]);
      of_row[k] = static_cast<float>(slope * of.of_support(top_k.logps(i)[k], of_row[k]));
    }
  });

  if (!out.accumulate) {
    if (out.hidden) clear(threads(), out.hidden, head.rows * hidden_size);
    clear_weight_gradients(threads(), head, out);
  }
  // An item is a range of columns of hidden and weight, so that the rows are added in their order.
  const int64_t items = (hidden_size + kColumns - 1) / kColumns;
  parallel_for(threads(), items, head.rows * k_count * hidden_size, [&](int64_t item, int) {
    const int64_t first = item * kColumns, n = std::min(kColumns, hidden_size - first);
    for (int64_t i = 0; i < head.rows && !cancelled(); i++) {
      if (labels[i] < 0) continue;
      float hidden[kColumns], weight[kColumns];
      double sums[kColumns] = {};
      widen_row(head.hidden, i, first, n, hidden);
      for (int64_t k = 0; k < k_count; k++) {
        const int64_t v = top_k.indices(i)[k];
        const float g = gradients[i * k_count + k];
        if (out.hidden) {
          widen_row(head.weight, v, first, n, weight);
          for (int64_t c = 0; c < n; c++) sums[c] += static_cast<double>(g) * weight[c];
        }
        for (int64_t c = 0; out.weight && c < n; c++) {
          out.weight[grad_weight_index(head, v, first + c)] += g * hidden[c];
        }
        if (out.bias && item == 0) out.bias[v] += g;
      }
      float* const to = out.hidden ? out.hidden + i * hidden_size + first : nullptr;
      for (int64_t c = 0; to && c < n; c++) to[c] = static_cast<float>(to[c] + sums[c]);
    }
  });
  return ended();
}

}  // namespace sweet
