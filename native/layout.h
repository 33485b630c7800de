// The layout of a batch: labels, mask, weights, offsets and pairs, and their checks. A check copies what it accepts,
// and the operation works on the copy, since memory shared with other threads may change during a call. The copy of a
// cancelled call is incomplete.
#pragma once

#include <cfloat>
#include <cstdint>
#include <cstring>

#include "host_device.h"
#include "status.h"

namespace sweet {

// Memory of the caller may be overwritten concurrently. Each element is read once, a data race by design that
// ThreadSanitizer is told of.
#ifdef __SANITIZE_THREAD__
#define SWEET_RACE_BY_DESIGN __attribute__((no_sanitize_thread))
#else
#define SWEET_RACE_BY_DESIGN
#endif

/** volatile: the compiler must not read the element again, since the value that was checked must be the value used. */
template <class T>
SWEET_RACE_BY_DESIGN SWEET_HOST_DEVICE inline T read_once(const T& element) {
  return *static_cast<const volatile T*>(&element);
}

/** Token ids. A row is masked where its mask is 0 and ignored where its label is ignore_index. */
struct Labels {
  const void* data;  // [N] int32, or int64 if wide
  bool wide;
  const uint8_t* mask;  // [N] or null
  int64_t ignore_index;
  const float* weights = nullptr;  // [N] or null: 1 each; of the tokens of losses, heads have none
};

// Values of the checked copy of the labels that are no token id of the shard.
constexpr int32_t kIgnored = -1;            // no log-prob, but its lse is still computed
constexpr int32_t kMasked = -2;             // its logits are never read
constexpr int32_t kOtherShard = INT32_MAX;  // the token id belongs to another vocabulary shard

/** The vocabulary entries of a head: offset ... offset + size - 1 of total. */
struct VocabShard {
  int64_t offset, size, total;
};

/** A token id relative to the shard's first entry. */
SWEET_HOST_DEVICE inline int32_t label_in_shard(int64_t label, const VocabShard& shard) {
  const bool local = label >= shard.offset && label - shard.offset < shard.size;
  return local ? static_cast<int32_t>(label - shard.offset) : kOtherShard;
}

/** Whether a checked label is an entry of the shard. */
SWEET_HOST_DEVICE inline bool is_local(int32_t checked_label) {
  return checked_label >= 0 && checked_label != kOtherShard;
}

/** Whether the forward pass reads a row's logits; with skip_ignored, those of ignored rows are not read either. */
SWEET_HOST_DEVICE inline bool is_read(int32_t checked_label, bool skip_ignored) {
  return checked_label >= 0 || (checked_label == kIgnored && !skip_ignored);
}

SWEET_HOST_DEVICE inline int64_t label_at(const Labels& labels, int64_t i) {
  return labels.wide ? read_once(static_cast<const int64_t*>(labels.data)[i])
                     : read_once(static_cast<const int32_t*>(labels.data)[i]);
}

/**
 * The label of row i as the checked copy has it, relative to the shard's first entry. False if the label, which `read`
 * gets, is neither in [0, total) nor the ignored index.
 */
SWEET_HOST_DEVICE inline bool checked_label(const Labels& labels, int64_t i, const VocabShard& shard, int32_t* checked,
                                            int64_t* read = nullptr) {
  if (labels.mask && read_once(labels.mask[i]) == 0) {
    *checked = kMasked;
    return true;
  }
  const int64_t label = label_at(labels, i);
  if (read) *read = label;
  if (label == labels.ignore_index) {
    *checked = kIgnored;
    return true;
  }
  *checked = label_in_shard(label, shard);
  return label >= 0 && label < shard.total;
}

/** Whether offset i may follow `last`, the one before it (0 for the first). */
SWEET_HOST_DEVICE inline bool offset_fits(int32_t offset, int32_t last, int64_t i, int64_t groups, int64_t total) {
  return offset >= last && offset <= total && (i > 0 || offset == 0) && (i < groups || offset == total);
}

Status check_labels(const Labels& labels, int64_t rows, const VocabShard& shard, int32_t* checked);

/** Whether a token counts. Labels may have no data here; other labels than the ignored one are not looked at. */
SWEET_HOST_DEVICE inline bool is_kept(const Labels& labels, int64_t i) {
  if (labels.mask && read_once(labels.mask[i]) == 0) return false;
  return !labels.data || label_at(labels, i) != labels.ignore_index;
}

/** Finite and not negative. */
SWEET_HOST_DEVICE inline bool is_weight(float weight) { return weight >= 0 && weight <= FLT_MAX; }

/** m_i w_i of a token: 0 where it does not count, and its weight is not read there; else its weight, which is checked.
 */
SWEET_HOST_DEVICE inline float token_weight(const Labels& labels, int64_t i, bool kept) {
  return !kept ? 0.0f : labels.weights ? read_once(labels.weights[i]) : 1.0f;
}

/** The value of a status of Code::token_weight and Code::unit_weight. */
inline int64_t weight_bits(float weight) {
  uint32_t bits;
  memcpy(&bits, &weight, sizeof(bits));
  return bits;
}

/** kept[i] = is_kept(labels, i) */
Status copy_kept(const Labels& labels, int64_t tokens, uint8_t* kept);

/** weights[i] = token_weight(labels, i, kept[i]) */
Status check_weights(const Labels& labels, int64_t tokens, const uint8_t* kept, float* weights);

/** offsets[0 ... groups] must start at 0, not decrease and end at `total`; else the status has `code`. */
Status check_offsets(const int32_t* offsets, int64_t groups, int64_t total, Code code, int32_t* checked);

/** Pairs of items (turns or trajectories); weights (may be null) must be finite, not negative and not all 0. */
struct Pairs {
  const int32_t* chosen;
  const int32_t* rejected;
  const float* weights;
  int64_t count;
};

/** The rule that a pair breaks, or Code::ok. */
SWEET_HOST_DEVICE inline Code pair_fault(int32_t chosen, int32_t rejected, float weight, int64_t items) {
  if (chosen < 0 || chosen >= items) return Code::chosen;
  if (rejected < 0 || rejected >= items) return Code::rejected;
  if (chosen == rejected) return Code::same_pair;
  if (!is_weight(weight)) return Code::pair_weight;
  return Code::ok;
}

Status check_pairs(const Pairs& pairs, int64_t items, int32_t* chosen, int32_t* rejected, float* weights);

}  // namespace sweet
