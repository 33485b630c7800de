// The linear head, chunk by chunk of the rows that count: hidden states gathered, a product into float32 logits, the
// kernels of token_logps.cu over them forward; backward the logits become their gradient in place and two products take
// that to the gradients of hidden states and weight. Chunks follow each other, so that sums have one order.
#include <type_traits>

#include "../linear_logps.h"
#include "../softmax.h"
#include "device.h"
#include "layout.h"
#include "linear.h"
#include "product.h"

namespace sweet {
namespace cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int64_t kRowWords = 64;     // rows of logits start at multiples of so many
constexpr int64_t kWholeTiles = 128;  // rows of a chunk, where it has more
constexpr int64_t kChunkBytes = 1 << 30;

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/** Rows of a chunk: as equal as can be, so that the last one is no rest. */
int64_t rows_of_chunk(const Head& head, int64_t stride, int64_t count) {
  const int64_t bytes = head.chunk_bytes > 0 ? head.chunk_bytes : kChunkBytes;
  // Logits, and beside them the hidden states and their gradient.
  int64_t most = bytes / (4 * stride + head.hidden_size * (bytes_of(head.dtype) + 4));
  if (most > kWholeTiles) most -= most % kWholeTiles;
  if (most < 1) most = 1;
  if (count <= most) return count;
  const int64_t even = blocks_for(count, blocks_for(count, most));
  const int64_t whole = round_up(even, kWholeTiles);
  return whole <= most ? whole : even;
}

/** One block: a prefix sum over all rows. */
__global__ void __launch_bounds__(kThreads)
    keep_rows_kernel(const int32_t* labels, int64_t rows, bool skip_ignored, int64_t* kept, Outcome* outcome) {
  __shared__ int counts[kWarps];
  if (refused(outcome)) return;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  int64_t before = 0;
  for (int64_t first = 0; first < rows; first += kThreads) {
    const int64_t i = first + threadIdx.x;
    const int own = i < rows && is_read(labels[i], skip_ignored);
    int upto = own;
    for (int distance = 1; distance < kWarp; distance *= 2) {
      const int other = __shfl_up_sync(kAllLanes, upto, distance);
      if (lane >= distance) upto += other;
    }
    if (lane == kWarp - 1) counts[warp] = upto;
    __syncthreads();
    int64_t at = before + upto - own;
    for (int w = 0; w < kWarps; w++) {
      if (w < warp) at += counts[w];
      before += counts[w];
    }
    __syncthreads();
    if (own) kept[at] = i;
  }
  if (threadIdx.x == 0) outcome->kept = before;
}

/** A block per row. */
template <class T>
__global__ void __launch_bounds__(kThreads)
    gather_rows_kernel(const T* from, const int64_t* rows, int64_t width, T* to, const Outcome* outcome) {
  if (refused(outcome)) return;
  const T* const x = from + rows[blockIdx.x] * width;
  T* const y = to + blockIdx.x * width;
  for (int64_t h = threadIdx.x; h < width; h += kThreads) y[h] = x[h];
}

__global__ void __launch_bounds__(kThreads) scatter_rows_kernel(const float* from, const int64_t* rows, int64_t width,
                                                                bool add, float* to, const Outcome* outcome) {
  if (refused(outcome)) return;
  const float* const x = from + blockIdx.x * width;
  float* const y = to + rows[blockIdx.x] * width;
  for (int64_t h = threadIdx.x; h < width; h += kThreads) y[h] = add ? y[h] + x[h] : x[h];
}

__global__ void __launch_bounds__(kThreads) gather_labels_kernel(const int32_t* labels, const int64_t* rows,
                                                                 int64_t count, int32_t* to, const Outcome* outcome) {
  const int64_t i = global_thread();
  if (!refused(outcome) && i < count) to[i] = labels[rows[i]];
}

__global__ void __launch_bounds__(kThreads)
    scatter_results_kernel(ForwardOut from, const int64_t* rows, int64_t count, ForwardOut to, const Outcome* outcome) {
  const int64_t i = global_thread();
  if (refused(outcome) || i >= count) return;
  const int64_t row = rows[i];
  if (to.partials) {
    to.partials[row] = from.partials[i];
    return;
  }
  to.logps[row] = from.logps[i];
  if (to.lse) to.lse[row] = from.lse[i];
  if (to.lse32) to.lse32[row] = static_cast<float>(from.lse[i]);
  if (to.entropy) to.entropy[row] = from.entropy[i];
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    widen_kernel(const T* from, int64_t count, float* to, const Outcome* outcome) {
  const int64_t i = global_thread();
  if (!refused(outcome) && i < count) to[i] = to_float(from[i]);
}

/** The largest magnitude that is a number. */
__global__ void __launch_bounds__(kThreads)
    largest_gradient_kernel(const float* grad_logps, const int64_t* rows, int64_t count, Outcome* outcome) {
  const int64_t i = global_thread();
  if (refused(outcome) || i >= count) return;
  const float g = fabsf(grad_logps[rows[i]]);
  unsigned bits = 0;
  memcpy(&bits, &g, sizeof(bits));
  if (g < INFINITY) atomicMax(&outcome->largest, bits);
}

__global__ void clear_largest_kernel(Outcome* outcome) { outcome->largest = 0; }

/** What the gradients of a row have in common, and that of its label. */
struct RowGradient {
  float pivot, factor, of_label;
  int32_t label;
};

__global__ void __launch_bounds__(kThreads)
    prepare_tokens_kernel(const float* logits, int64_t stride, const int32_t* labels, const int64_t* rows,
                          int64_t count, double temperature, const double* lse, const float* lse32,
                          const float* grad_logps, float scale, RowGradient* gradients, const Outcome* outcome) {
  const int64_t i = global_thread();
  if (refused(outcome) || i >= count) return;
  const int64_t row = rows[i];
  const int32_t label = labels[row];
  const double g = grad_logps[row] / temperature * scale, row_lse = lse ? lse[row] : lse32[row];
  const SoftmaxGradient softmax(row_lse, temperature, -g);
  const float label_logit = is_local(label) ? logits[i * stride + label] : 0.0f;
  const float of_label = static_cast<float>(label_gradient(label_logit, row_lse, temperature, g));
  gradients[i] = {softmax.pivot, softmax.factor, of_label, label};
}

/**
 * A block takes a row of float32 logits and leaves its gradient as T from the same address on. What is narrower than
 * what it replaces lies over words that were read before: a tile is read by all threads before any of it is written.
 */
template <class T>
__global__ void __launch_bounds__(kThreads)
    grad_tokens_kernel(float* logits, int64_t vocab, int64_t stride, const RowGradient* gradients, float slope,
                       const Outcome* outcome) {
  if (refused(outcome)) return;
  constexpr int size = Vector<float>::kSize, vectors = 2, own = size * vectors;
  const RowGradient row = gradients[blockIdx.x];
  const float* const x = logits + blockIdx.x * stride;
  T* const grad = reinterpret_cast<T*>(logits + blockIdx.x * stride);
  for (int64_t first = 0; first < vocab; first += kThreads * own) {
    const int64_t v = first + threadIdx.x * own;
    const int64_t words = v < vocab ? vocab - v : 0;
    float logit[own];
#pragma unroll
    for (int k = 0; k < vectors; k++) {
      if (words >= own) {
        const Vector<float> vector = load(x + v + k * size);
        memcpy(&logit[k * size], &vector, sizeof(vector));
      } else {
#pragma unroll
        for (int j = k * size; j < (k + 1) * size; j++) logit[j] = j < words ? x[v + j] : 0.0f;
      }
    }
    __syncthreads();
    T result[own];
#pragma unroll
    for (int j = 0; j < own; j++) {
      const float g = row.factor * power_of_two((logit[j] - row.pivot) * slope);
      from_float(v + j == row.label ? row.of_label : g, &result[j]);
    }
    if (words >= own) {
#pragma unroll
      for (int j = 0; j < own; j += Vector<T>::kSize) {
        Vector<T> vector;
        memcpy(&vector, &result[j], sizeof(vector));
        store(vector, grad + v + j);
      }
    } else {
#pragma unroll
      for (int j = 0; j < own; j++) {
        if (j < words) grad[v + j] = result[j];
      }
    }
  }
}

/** A thread per word: its gradients in the order of the rows. */
template <class T>
__global__ void __launch_bounds__(kThreads)
    sum_words_kernel(const T* grad, int64_t stride, int64_t rows, int64_t vocab, float alpha, bool add, float* out,
                     const Outcome* outcome) {
  const int64_t v = global_thread();
  if (refused(outcome) || v >= vocab) return;
  double sum = 0;
  for (int64_t i = 0; i < rows; i++) sum += to_float(grad[i * stride + v]);
  sum *= alpha;
  out[v] = static_cast<float>(add ? out[v] + sum : sum);
}

/**
 * A power of two that takes the gradients of logits to where float16 has its precision: most of a softmax's are far
 * below the largest, and float16 ends at 6e-8.
 */
float scale_of(Run& run, DType dtype, double temperature, const float* grad_logps, const KeptRows& kept) {
  if (dtype != DType::float16) return 1;
  run.launch("clear_largest_kernel", clear_largest_kernel, 1, 1, run.outcome());
  run.launch("largest_gradient_kernel", largest_gradient_kernel, blocks_for(kept.count, kThreads), kThreads, grad_logps,
             kept.rows, kept.count, run.outcome());
  const Outcome outcome = run.settle();
  float largest = 0;
  if (run.ok()) memcpy(&largest, &outcome.largest, sizeof(largest));
  const double gradient = largest / temperature;
  if (!(gradient > 0)) return 1;
  const int exponent = 14 - (std::ilogb(gradient) + 1);  // below 2^14: float16 goes to 2^16
  return std::ldexp(1.0f, exponent < -100 ? -100 : exponent > 100 ? 100 : exponent);
}

}  // namespace

KeptRows keep_rows(Run& run, const int32_t* labels, int64_t rows, bool skip_ignored) {
  require_products(run);
  int64_t* const kept = run.scratch<int64_t>(rows);
  run.launch("keep_rows_kernel", keep_rows_kernel, 1, kThreads, labels, rows, skip_ignored, kept, run.outcome());
  const Outcome outcome = run.settle();
  return {kept, run.ok() ? outcome.kept : 0};
}

LinearPass::LinearPass(Run& run, const Head& head, const int32_t* labels, const KeptRows& kept)
    : run_(run),
      head_(head),
      labels_(labels),
      kept_(kept),
      stride_(round_up(head.vocab_size, kRowWords)),
      chunk_(rows_of_chunk(head, stride_, kept.count)) {
  hidden_ = run.scratch<char>(chunk_ * head.hidden_size * bytes_of(head.dtype));
  logits_ = run.scratch<float>(chunk_ * stride_);
  if (!head.bias) return;
  bias_ = run.scratch<float>(head.vocab_size);
  with_type(head.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    run.launch("widen_kernel", widen_kernel<T>, blocks_for(head.vocab_size, kThreads), kThreads,
               static_cast<const T*>(head.bias), head.vocab_size, bias_, run.outcome());
  });
}

template <class Use>
void LinearPass::each_chunk(Use use) const {
  for (int64_t first = 0; first < kept_.count && run_.ok(); first += chunk_) {
    use(first, chunk_ < kept_.count - first ? chunk_ : kept_.count - first);
  }
}

void LinearPass::compute_logits(int64_t first, int64_t count) {
  if (computed_ == first) return;
  computed_ = first;
  with_type(head_.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    run_.launch("gather_rows_kernel", gather_rows_kernel<T>, count, kThreads, static_cast<const T*>(head_.hidden),
                kept_.rows + first, head_.hidden_size, static_cast<T*>(hidden_), run_.outcome());
  });
  multiply(run_, {head_.dtype,
                  count,
                  head_.vocab_size,
                  head_.hidden_size,
                  {hidden_, head_.hidden_size, false},
                  {head_.weight, head_.hidden_size, true},
                  1,
                  false,
                  logits_,
                  stride_,
                  bias_});
}

void LinearPass::forward(const ForwardOut& out) {
  const int64_t n = head_.rows;
  if (out.logps) run_.set_zero(out.logps, 4 * n);
  if (out.lse) run_.set_zero(out.lse, 8 * n);
  if (out.lse32) run_.set_zero(out.lse32, 4 * n);
  if (out.entropy) run_.set_zero(out.entropy, 4 * n);
  const Run::Scope scope(run_);
  int32_t* const labels = run_.scratch<int32_t>(chunk_);
  const ForwardOut own{run_.scratch<float>(chunk_),
                       run_.scratch<double>(chunk_),
                       nullptr,
                       out.entropy ? run_.scratch<float>(chunk_) : nullptr,
                       false,
                       out.partials ? run_.scratch<ShardStats>(chunk_) : nullptr,
                       out.weighted};
  each_chunk([&](int64_t first, int64_t count) {
    const Run::Scope of_chunk(run_);
    const int64_t* const rows = kept_.rows + first;
    const int64_t blocks = blocks_for(count, kThreads);
    compute_logits(first, count);
    Head head = head_;
    head.dtype = DType::float32;
    head.rows = count;
    head.logits = logits_;
    head.row_stride = stride_;
    run_.launch("gather_labels_kernel", gather_labels_kernel, blocks, kThreads, labels_, rows, count, labels,
                run_.outcome());
    forward_rows(run_, head, labels, own);
    run_.launch("scatter_results_kernel", scatter_results_kernel, blocks, kThreads, own, rows, count, out,
                run_.outcome());
  });
}

void LinearPass::backward_chunk(int64_t first, int64_t count, float scale, const double* lse, const float* lse32,
                                const float* grad_logps, bool add_weight, const HeadGradients& out) {
  const Run::Scope scope(run_);
  const int64_t* const rows = kept_.rows + first;
  const int64_t width = head_.hidden_size, vocab = head_.vocab_size;
  RowGradient* const gradients = run_.scratch<RowGradient>(count);
  float* const grad_hidden = run_.scratch<float>(count * width);
  compute_logits(first, count);
  computed_ = -1;
  run_.launch("prepare_tokens_kernel", prepare_tokens_kernel, blocks_for(count, kThreads), kThreads, logits_, stride_,
              labels_, rows, count, head_.temperature, lse, lse32, grad_logps, scale, gradients, run_.outcome());
  with_type(head_.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const int64_t stride = stride_ * static_cast<int64_t>(sizeof(float) / sizeof(T));
    const Matrix grad{logits_, stride, false};
    run_.launch("grad_tokens_kernel", grad_tokens_kernel<T>, count, kThreads, logits_, vocab, stride_, gradients,
                log2_scale(head_.temperature), run_.outcome());
    multiply(run_, {head_.dtype,
                    count,
                    width,
                    vocab,
                    grad,
                    {head_.weight, width, false},
                    1 / scale,
                    false,
                    grad_hidden,
                    width,
                    nullptr});
    run_.launch("scatter_rows_kernel", scatter_rows_kernel, count, kThreads, grad_hidden, rows, width, out.accumulate,
                out.hidden, run_.outcome());
    multiply(run_, {head_.dtype,
                    vocab,
                    width,
                    count,
                    {logits_, stride, true},
                    {hidden_, width, false},
                    1 / scale,
                    add_weight,
                    out.weight,
                    width,
                    nullptr});
    if (out.bias) {
      run_.launch("sum_words_kernel", sum_words_kernel<T>, blocks_for(vocab, kThreads), kThreads,
                  reinterpret_cast<const T*>(logits_), stride, count, vocab, 1 / scale, add_weight, out.bias,
                  run_.outcome());
    }
  });
}

void LinearPass::backward(const double* lse, const float* lse32, const float* grad_logps, const HeadGradients& out) {
  const int64_t width = head_.hidden_size, vocab = head_.vocab_size;
  const float scale = scale_of(run_, head_.dtype, head_.temperature, grad_logps, kept_);
  if (!out.accumulate) run_.set_zero(out.hidden, 4 * head_.rows * width);
  if (!out.accumulate && kept_.count == 0) {
    run_.set_zero(out.weight, 4 * vocab * width);
    if (out.bias) run_.set_zero(out.bias, 4 * vocab);
  }
  each_chunk([&](int64_t first, int64_t count) {
    backward_chunk(first, count, scale, lse, lse32, grad_logps, out.accumulate || first > 0, out);
  });
}

}  // namespace cuda

Status linear_logps(const Head& head, const Labels& labels, const LogpsOut& out) {
  cuda::Run run;
  const int32_t* const checked = cuda::check_labels(run, labels, head.rows, words_of(head));
  const cuda::KeptRows kept = cuda::keep_rows(run, checked, head.rows, false);
  cuda::LinearPass(run, head, checked, kept).forward({out.logps, nullptr, out.lse, out.entropy, false});
  return run.finish(nullptr);
}

Status linear_logps_backward(const Head& head, const Labels& labels, const LogpsBackward& backward) {
  cuda::Run run;
  const int32_t* const checked = cuda::check_labels(run, labels, head.rows, words_of(head));
  const cuda::KeptRows kept = cuda::keep_rows(run, checked, head.rows, true);
  cuda::LinearPass(run, head, checked, kept).backward(nullptr, backward.lse, backward.grad_logps, backward.out);
  return run.finish(nullptr);
}

}  // namespace sweet
