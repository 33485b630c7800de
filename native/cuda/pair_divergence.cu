// Divergences of whole distributions, see ../divergence.h. x [N, V] the student's logits, y [N, V] the teacher's:
//
//   forward    PairStats of each segment of a row by a block, merged by a thread per row; of jsd then JsdSums likewise
//   backward   dx_v = g / temperature * dD/dz_v, a block per segment; one read of both, one write, which may be in
//   place
//
// Of linear heads, the logits of a chunk of rows of both heads are computed, each once in a call, and the same kernels
// read them. D of the student's chunk then takes the place of its logits for the products of linear_head.cu.
#include <type_traits>

#include "../segment.h"
#include "device.h"
#include "divergence.h"

namespace sweet {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

// Below every t of logits whose differences times log2(e) / temperature are less than 1e30, as on the CPU.
constexpr float kLeastT = -0x1p100f;

/** Block b computes segment b % per_row of row b / per_row. */
struct PairSegments {
  LogitRows x, y;
  unsigned per_row;

  PairSegments(const LogitRows& student, const LogitRows& teacher)
      : x(student), y(teacher), per_row(static_cast<unsigned>(blocks_for(student.vocab_size, kSegment))) {}

  int64_t blocks() const { return x.count * per_row; }
  __device__ int64_t row() const { return blockIdx.x / per_row; }
  __device__ int64_t result_row() const { return x.rows ? x.rows[row()] : row(); }
  __device__ int64_t first() const { return static_cast<int64_t>(blockIdx.x % per_row) * kSegment; }
  __device__ bool is_last() const { return blockIdx.x % per_row == per_row - 1; }
  __device__ int size() const {
    const int64_t left = x.vocab_size - first();
    return static_cast<int>(left < kSegment ? left : kSegment);
  }
  __device__ bool is_skipped() const { return x.labels && x.labels[row()] < 0; }
  template <class T>
  __device__ const T* at(const LogitRows& of) const {
    return static_cast<const T*>(of.logits) + row() * of.row_stride + first();
  }
};

/** A thread's share of a segment so far; see PairStats. */
struct ThreadPair {
  float max_a, max_b, sum_a, sum_b, weighted;
  bool unsupported;
};

__device__ inline void add_pair(ThreadPair& stats, float a, float b, float scale_a, float scale_b) {
  if (a > stats.max_a || b > stats.max_b) {
    const float max_a = a > stats.max_a ? a : stats.max_a, max_b = b > stats.max_b ? b : stats.max_b;
    const float d_a = (stats.max_a - max_a) * scale_a, d_b = (stats.max_b - max_b) * scale_b;
    if (stats.sum_a != 0) {
      const float factor = exp2_approx(d_a);
      stats.weighted = (stats.weighted + stats.sum_a * (d_a - d_b)) * factor;
      stats.sum_a *= factor;
    }
    if (stats.sum_b != 0) stats.sum_b *= exp2_approx(d_b);
    stats.max_a = max_a;
    stats.max_b = max_b;
  }
  const float t_a = (a - stats.max_a) * scale_a, t_b = (b - stats.max_b) * scale_b, e = exp2_approx(t_a);
  stats.sum_a += e;
  stats.sum_b += exp2_approx(t_b);
  if (t_a == -INFINITY) return;
  if (t_b == -INFINITY) {
    stats.unsupported = true;
  } else {
    stats.weighted += e * (t_a - t_b);
  }
}

/** x is a, y is b, or with kSwapped the other way round. */
template <class X, class Y, bool kSwapped>
__global__ void __launch_bounds__(kThreads) pair_stats_kernel(PairSegments segments, float scale_a, float scale_b,
                                                              PairStats* stats,  // [count, per_row]
                                                              const DeviceResult* result) {
  __shared__ float shared_max[kWarps];
  __shared__ double shared_sum[kWarps];
  if (has_fault(result) || segments.is_skipped()) return;
  const X* const x = segments.at<X>(segments.x);
  const Y* const y = segments.at<Y>(segments.y);
  ThreadPair thread{-FLT_MAX, -FLT_MAX, 0, 0, 0, false};
  for (int v = static_cast<int>(threadIdx.x); v < segments.size(); v += kThreads) {
    const float of_x = segments.x.cap.apply(to_float(x[v])), of_y = segments.y.cap.apply(to_float(y[v]));
    add_pair(thread, kSwapped ? of_y : of_x, kSwapped ? of_x : of_y, scale_a, scale_b);
  }
  const float max_a = block_max(thread.max_a, shared_max), max_b = block_max(thread.max_b, shared_max);
  PairStats all{thread.max_a, thread.max_b, thread.sum_a, thread.sum_b, thread.weighted, false};
  raise_pair_stats(&all, max_a, max_b, scale_a, scale_b);
  all.sum_a = block_sum(all.sum_a, shared_sum);
  all.sum_b = block_sum(all.sum_b, shared_sum);
  all.weighted = block_sum(all.weighted, shared_sum);
  all.unsupported = block_sum(thread.unsupported ? 1.0 : 0.0, shared_sum) > 0;
  if (threadIdx.x == 0) stats[blockIdx.x] = all;
}

/** A thread per row. */
__global__ void __launch_bounds__(kThreads)
    finish_pairs_kernel(PairSegments segments, Divergence type, const PairStats* stats,  // [count, per_row]
                        float* out,                                                      // [N]
                        double* saved,                                                   // [N, kSavedSize]
                        const DeviceResult* result) {
  const int64_t i = global_thread();
  if (has_fault(result) || i >= segments.x.count || (segments.x.labels && segments.x.labels[i] < 0)) return;
  const double temperature = segments.x.temperature, of_teacher = segments.y.temperature;
  const float scale_a = log2_scale(teacher_first(type) ? of_teacher : temperature);
  const float scale_b = log2_scale(teacher_first(type) ? temperature : of_teacher);
  PairStats all = kEmptyPair;
  for (unsigned s = 0; s < segments.per_row; s++) merge_pair(&all, stats[i * segments.per_row + s], scale_a, scale_b);
  write_row(out, saved, segments.x.rows ? segments.x.rows[i] : i, row_of_stats(type, all, temperature, of_teacher));
}

/** log2 of a probability. */
__device__ inline float log2_prob(float x, const NormalizedRow& row, float scale_log2) {
  const float t = (x - row.max) * scale_log2 + row.shift;
  return t < kLeastT ? kLeastT : t;
}

/** log(P/M) and log(Q/M) from log2 of P and Q. */
struct JsdTerm {
  float of_p, of_q;

  __device__ JsdTerm(float log2_p, float log2_q, float beta, float other_beta) {
    const float d = (log2_p - log2_q) * 0.693147182f;
    const bool p_larger = d > 0;
    const float larger = -log1pf((p_larger ? other_beta : beta) * expm1f(-fabsf(d))), smaller = larger - fabsf(d);
    of_p = p_larger ? larger : smaller;
    of_q = p_larger ? smaller : larger;
  }
};

template <class X, class Y>
__global__ void __launch_bounds__(kThreads) jsd_sums_kernel(PairSegments segments, float beta, float other_beta,
                                                            const double* saved,  // [N, kSavedSize]
                                                            JsdSums* sums,        // [count, per_row]
                                                            const DeviceResult* result) {
  __shared__ double shared_sum[kWarps];
  if (has_fault(result) || segments.is_skipped()) return;
  const SavedRow row = saved_row(saved, segments.result_row());
  const NormalizedRow of_x(row.lse_z, segments.x.temperature), of_y(row.lse_y, segments.y.temperature);
  const float scale_x = log2_scale(segments.x.temperature), scale_y = log2_scale(segments.y.temperature);
  const X* const x = segments.at<X>(segments.x);
  const Y* const y = segments.at<Y>(segments.y);
  float sum_p = 0, sum_q = 0;
  for (int v = static_cast<int>(threadIdx.x); v < segments.size(); v += kThreads) {
    const float at_x = segments.x.cap.apply(to_float(x[v])), at_y = segments.y.cap.apply(to_float(y[v]));
    const float log2_q = log2_prob(at_x, of_x, scale_x), log2_p = log2_prob(at_y, of_y, scale_y);
    const JsdTerm term(log2_p, log2_q, beta, other_beta);
    sum_p += exp2_approx(log2_p) * term.of_p;
    sum_q += exp2_approx(log2_q) * term.of_q;
  }
  const double all_p = block_sum(sum_p, shared_sum), all_q = block_sum(sum_q, shared_sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = {beta * all_p + other_beta * all_q, all_q};
}

/** A thread per row. */
__global__ void __launch_bounds__(kThreads) finish_jsd_kernel(PairSegments segments,
                                                              const JsdSums* sums,  // [count, per_row]
                                                              float* out,           // [N]
                                                              double* saved,        // [N, kSavedSize]
                                                              const DeviceResult* result) {
  const int64_t i = global_thread();
  if (has_fault(result) || i >= segments.x.count || (segments.x.labels && segments.x.labels[i] < 0)) return;
  JsdSums all{0, 0};
  for (unsigned s = 0; s < segments.per_row; s++) {
    all.divergence += sums[i * segments.per_row + s].divergence;
    all.kappa += sums[i * segments.per_row + s].kappa;
  }
  const int64_t row = segments.x.rows ? segments.x.rows[i] : i;
  out[row] = static_cast<float>(cut_at_0(all.divergence));
  saved[row * kSavedSize + 2] = all.kappa;
}

/** The gradient of a row that is not read is 0, and so is the padding of every row, as far as the array goes. */
template <class X, class Y>
__global__ void __launch_bounds__(kThreads) divergence_grad_kernel(PairSegments segments, Divergence type, double beta,
                                                                   const double* saved,           // [N, kSavedSize]
                                                                   const float* grad_divergence,  // [N]
                                                                   double scale, X* gradient,     // as x, may be x
                                                                   int64_t length,                // of the gradient
                                                                   const DeviceResult* result) {
  if (has_fault(result)) return;
  const int64_t offset = segments.row() * segments.x.row_stride + segments.first();
  X* const grad = gradient + offset;
  const int n = segments.size(), thread = static_cast<int>(threadIdx.x);
  if (segments.is_last()) {
    const int64_t end = (segments.row() + 1) * segments.x.row_stride;
    for (int64_t v = offset + n + thread; v < end && v < length; v += kThreads) from_float(0.0f, gradient + v);
  }
  if (segments.is_skipped()) {
    for (int v = thread; v < n; v += kThreads) from_float(0.0f, grad + v);
    return;
  }
  const int64_t row = segments.result_row();
  const SavedRow of_row = saved_row(saved, row);
  const double temperature = segments.x.temperature;
  const double g = scale * gradient_factor(type, beta, grad_divergence[row], segments.x.head_temperature());
  const float factor = has_gradient(of_row, g) ? static_cast<float>(g) : NAN;
  const NormalizedRow of_x(of_row.lse_z, temperature), of_y(of_row.lse_y, segments.y.temperature);
  const float scale_x = log2_scale(temperature), scale_y = log2_scale(segments.y.temperature);
  const float kappa = static_cast<float>(of_row.kappa), to_m = static_cast<float>(beta);
  const float of_m = static_cast<float>(1 - beta);
  // Of reverse_kl, kappa is added to log P before the sum is rounded: where Q is close to 1, r is close to kappa.
  const double shifted = of_row.kappa * 1.4426950408889634 + of_y.shift;
  const float shifted_kappa = static_cast<float>(shifted), rest = static_cast<float>(shifted - shifted_kappa);
  const X* const x = segments.at<X>(segments.x);
  const Y* const y = segments.at<Y>(segments.y);
  for (int v = thread; v < n; v += kThreads) {
    const float at_x = segments.x.cap.apply(to_float(x[v])), at_y = segments.y.cap.apply(to_float(y[v]));
    const float log2_q = log2_prob(at_x, of_x, scale_x), q = exp2_approx(log2_q);
    float slope;
    if (type == Divergence::forward_kl) {
      slope = q - exp2_approx(log2_prob(at_y, of_y, scale_y));
    } else if (type == Divergence::reverse_kl) {
      const float t = (at_y - of_y.max) * scale_y + shifted_kappa, with_kappa = t < kLeastT ? kLeastT : t;
      slope = q * ((log2_q - with_kappa - rest) * 0.693147182f);
    } else {
      slope = q * (JsdTerm(log2_prob(at_y, of_y, scale_y), log2_q, to_m, of_m).of_q - kappa);
    }
    const float d = factor * slope;
    from_float(segments.x.cap.is_on() ? Softcap::times_slope(d, at_x) : d, grad + v);
  }
}

/** 0 for the rows that are read, kMasked for the others. */
__global__ void __launch_bounds__(kThreads) kept_rows_kernel(Labels labels,  // [N] or none, with a mask or without
                                                             int64_t rows,
                                                             int32_t* kept,  // [N]
                                                             const DeviceResult* result) {
  const int64_t i = global_thread();
  if (!has_fault(result) && i < rows) kept[i] = is_kept(labels, i) ? 0 : kMasked;
}

__global__ void __launch_bounds__(kThreads) clear_rows_kernel(int64_t rows,
                                                              float* out,     // [N]
                                                              double* saved,  // [N, kSavedSize]
                                                              const DeviceResult* result) {
  const int64_t i = global_thread();
  if (!has_fault(result) && i < rows) write_row(out, saved, i, {});
}

/** Calls use(X*, Y*) with null pointers to the types. */
template <class Use>
void with_types(const LogitRows& x, const LogitRows& y, Use use) {
  with_type(x.dtype, [&](auto* of_x) { with_type(y.dtype, [&](auto* of_y) { use(of_x, of_y); }); });
}

}  // namespace

const int32_t* kept_rows(LaunchContext& context, const Labels& labels, int64_t rows) {
  int32_t* const kept = context.scratch<int32_t>(rows);
  context.launch("kept_rows_kernel", kept_rows_kernel, blocks_for(rows, kThreads), kThreads, labels, rows, kept,
                 context.result());
  return kept;
}

void clear_rows(LaunchContext& context, int64_t rows, float* out, double* saved) {
  context.launch("clear_rows_kernel", clear_rows_kernel, blocks_for(rows, kThreads), kThreads, rows, out, saved,
                 context.result());
}

void pair_forward(LaunchContext& context, const LogitRows& x, const LogitRows& y, const HeadDivergence& call) {
  const LaunchContext::ScratchScope scope(context);
  const PairSegments segments(x, y);
  const bool swapped = teacher_first(call.type);
  const float scale_a = log2_scale(swapped ? y.temperature : x.temperature);
  const float scale_b = log2_scale(swapped ? x.temperature : y.temperature);
  PairStats* const stats = context.scratch<PairStats>(segments.blocks());
  with_types(x, y, [&](auto* of_x, auto* of_y) {
    using X = std::remove_pointer_t<decltype(of_x)>;
    using Y = std::remove_pointer_t<decltype(of_y)>;
    context.launch("pair_stats_kernel", swapped ? pair_stats_kernel<X, Y, true> : pair_stats_kernel<X, Y, false>,
                   segments.blocks(), kThreads, segments, scale_a, scale_b, stats, context.result());
  });
  context.launch("finish_pairs_kernel", finish_pairs_kernel, blocks_for(x.count, kThreads), kThreads, segments,
                 call.type, stats, call.divergence, call.saved, context.result());
  if (call.type != Divergence::jsd) return;
  JsdSums* const sums = context.scratch<JsdSums>(segments.blocks());
  const float beta = static_cast<float>(call.jsd_beta), other_beta = static_cast<float>(1 - call.jsd_beta);
  with_types(x, y, [&](auto* of_x, auto* of_y) {
    using X = std::remove_pointer_t<decltype(of_x)>;
    using Y = std::remove_pointer_t<decltype(of_y)>;
    context.launch("jsd_sums_kernel", jsd_sums_kernel<X, Y>, segments.blocks(), kThreads, segments, beta, other_beta,
                   call.saved, sums, context.result());
  });
  context.launch("finish_jsd_kernel", finish_jsd_kernel, blocks_for(x.count, kThreads), kThreads, segments, sums,
                 call.divergence, call.saved, context.result());
}

void pair_backward(LaunchContext& context, const LogitRows& x, const LogitRows& y, const HeadDivergenceBackward& call,
                   float scale, void* gradient, int64_t length) {
  const PairSegments segments(x, y);
  with_types(x, y, [&](auto* of_x, auto* of_y) {
    using X = std::remove_pointer_t<decltype(of_x)>;
    using Y = std::remove_pointer_t<decltype(of_y)>;
    context.launch("divergence_grad_kernel", divergence_grad_kernel<X, Y>, segments.blocks(), kThreads, segments,
                   call.type, call.jsd_beta, call.saved, call.grad_divergence, scale, static_cast<X*>(gradient), length,
                   context.result());
  });
}

}  // namespace cuda
}  // namespace sweet
