// The layout of a batch, checked: labels, offsets and pairs. Each check copies what it accepts, and everything after
// works on the copy: memory that the caller shares with other threads may change at any time. A copy of a call that was
// cancelled is not whole and must not be used.
#pragma once

#include <cfloat>
#include <cstdint>

#include "host_device.h"
#include "status.h"

namespace sweet {

// The one read of an element that its owner may change meanwhile, a race by design of which ThreadSanitizer is told.
#ifdef __SANITIZE_THREAD__
#define SWEET_RACE_BY_DESIGN __attribute__((no_sanitize_thread))
#else
#define SWEET_RACE_BY_DESIGN
#endif

/** volatile: the compiler must not read it again, for what was checked is what is to be used. */
template <class T>
SWEET_RACE_BY_DESIGN SWEET_HOST_DEVICE inline T read_once(const T& element) {
  return *static_cast<const volatile T*>(&element);
}

/** The token taken in each row. mask (may be null): 0 drops a row. */
struct Labels {
  const void* data;  // int32, or int64 if wide
  bool wide;
  const uint8_t* mask;
  int64_t ignore_index;
};

// What stands for a dropped row in the checked copy of the labels.
constexpr int32_t kIgnored = -1;  // by its label: no log-prob, but its lse is still that of a real row
constexpr int32_t kMasked = -2;   // by the mask: never read
// And for a label that is none of the words at hand but one of another shard: above every word.
constexpr int32_t kElsewhere = INT32_MAX;

/** The words at hand, `first` ... `first` + `count` - 1 of `all`. */
struct Words {
  int64_t first, count, all;
};

/** Whether a checked label is one of the words at hand. */
SWEET_HOST_DEVICE inline bool is_here(int32_t checked_label) {
  return checked_label >= 0 && checked_label != kElsewhere;
}

/** Whether the forward pass needs a row's logits; with skip_ignored, those of ignored rows are not needed. */
SWEET_HOST_DEVICE inline bool is_read(int32_t checked_label, bool skip_ignored) {
  return checked_label >= 0 || (checked_label == kIgnored && !skip_ignored);
}

SWEET_HOST_DEVICE inline int64_t label_at(const Labels& labels, int64_t i) {
  return labels.wide ? read_once(static_cast<const int64_t*>(labels.data)[i])
                     : read_once(static_cast<const int32_t*>(labels.data)[i]);
}

/**
 * The label of row i as the checked copy has it, counted from the first word at hand; false if it, `read`, is neither a
 * word nor the ignored index.
 */
SWEET_HOST_DEVICE inline bool checked_label(const Labels& labels, int64_t i, const Words& words, int32_t* checked,
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
  const bool here = label >= words.first && label - words.first < words.count;
  *checked = here ? static_cast<int32_t>(label - words.first) : kElsewhere;
  return label >= 0 && label < words.all;
}

/** Whether offset i may follow `last`, the one before it (0 for the first). */
SWEET_HOST_DEVICE inline bool offset_fits(int32_t offset, int32_t last, int64_t i, int64_t groups, int64_t total) {
  return offset >= last && offset <= total && (i > 0 || offset == 0) && (i < groups || offset == total);
}

Status check_labels(const Labels& labels, int64_t rows, const Words& words, int32_t* checked);

/** keeps[i]: whether the mask (may be null) lets token i count. */
Status copy_mask(const uint8_t* mask, int64_t tokens, uint8_t* keeps);

/** offsets[0 ... groups] must start at 0, never fall and end at `total`; a fault is reported under `code`. */
Status check_offsets(const int32_t* offsets, int64_t groups, int64_t total, Code code, int32_t* checked);

/** Pairs of units; weights (may be null) must be finite, not negative and not all 0. */
struct Pairs {
  const int32_t* chosen;
  const int32_t* rejected;
  const float* weights;
  int64_t count;
};

/** Which rule a pair breaks, if any. */
SWEET_HOST_DEVICE inline Code pair_fault(int32_t chosen, int32_t rejected, float weight, int64_t units) {
  if (chosen < 0 || chosen >= units) return Code::chosen;
  if (rejected < 0 || rejected >= units) return Code::rejected;
  if (chosen == rejected) return Code::same_pair;
  if (!(weight >= 0 && weight <= FLT_MAX)) return Code::pair_weight;
  return Code::ok;
}

Status check_pairs(const Pairs& pairs, int64_t units, int32_t* chosen, int32_t* rejected, float* weights);

}  // namespace sweet
