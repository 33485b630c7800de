// Where log-probs come from: rows of logits, or hidden states times a weight matrix, of which no logits are stored.
//
//   N rows, V words, H hidden width;  z = (logits or hidden * weight^T + bias) / temperature
#pragma once

#include <cstdint>

#include "dtype.h"
#include "layout.h"

namespace sweet {

struct Head {
  DType dtype;
  int64_t rows, vocab;
  double temperature;

  // Of a shard, whose words are first_word ... first_word + vocab - 1 of all_words; all_words 0: there are no others.
  int64_t first_word, all_words;

  const void* logits;  // [N, V], rows `stride` numbers apart; null for a linear head
  int64_t stride;

  const void* hidden;  // [N, H]
  const void* weight;  // [V, H]
  const void* bias;    // [V] or null
  int64_t width;       // H

  // On a device: the most bytes that a chunk of rows of a linear head may take there; 0 leaves it to the device.
  int64_t chunk_bytes;
};

inline Words words_of(const Head& head) {
  return head.all_words > 0 ? Words{head.first_word, head.vocab, head.all_words} : Words{0, head.vocab, head.vocab};
}

/** entropy may be null. */
struct LogpsOut {
  float *logps, *lse, *entropy;  // [N]
};

/** Gradients at a head: logits in the head's dtype (may be the logits themselves), the others in float32. */
struct HeadGradients {
  void* logits;                   // [N, V], rows as far apart as the logits'
  float *hidden, *weight, *bias;  // [N, H], [V, H], [V] or null
  bool accumulate;                // add to hidden, weight and bias instead of overwriting them
};

/** d/dlogps is given, lse comes from the forward pass. */
struct LogpsBackward {
  const float *lse, *grad_logps;  // [N]
  HeadGradients out;
};

}  // namespace sweet
