// Linear heads on the device, as linear_logps.cu and both updates need them. All pointers are to device memory.
#pragma once

#include "../head.h"
#include "rows.h"
#include "run.h"

namespace sweet {
namespace cuda {

/** The rows whose logits a pass needs, in their order. */
struct KeptRows {
  const int64_t* rows;
  int64_t count;
};

/** Waits for the checks: what follows has its input accepted. */
KeptRows keep_rows(Run& run, const int32_t* labels, int64_t rows, bool skip_ignored);

/**
 * A head and the memory of one chunk of its kept rows: gathered hidden states, their float32 logits, which become the
 * gradient in place, rounded once to the head's type.
 */
class LinearPass {
 public:
  LinearPass(Run& run, const Head& head, const int32_t* labels, const KeptRows& kept);

  /** Rows that are not kept get 0; partials of theirs are left alone. */
  void forward(const ForwardOut& out);

  /** lse or, if that is null, lse32, [N]. After forward() the logits of a single chunk are still there. */
  void backward(const double* lse, const float* lse32, const float* grad_logps, const HeadGradients& out);

 private:
  void compute_logits(int64_t first, int64_t count);
  void backward_chunk(int64_t first, int64_t count, float scale, const double* lse, const float* lse32,
                      const float* grad_logps, bool add_weight, const HeadGradients& out);
  /** Calls use(first, count) for each chunk. */
  template <class Use>
  void each_chunk(Use use) const;

  Run& run_;
  const Head& head_;
  const int32_t* const labels_;
  const KeptRows kept_;
  const int64_t stride_;     // of logits
  const int64_t chunk_;      // rows
  void* hidden_ = nullptr;   // [chunk, H]
  float* logits_ = nullptr;  // [chunk, stride]
  float* bias_ = nullptr;    // [V]
  int64_t computed_ = -1;    // the chunk whose logits are there, by its first row
};

}  // namespace cuda
}  // namespace sweet
