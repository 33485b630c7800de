// What an operation answers: it worked, or which rule the input broke and where. Nothing is written when a rule is
// broken.
#pragma once

#include <cstdint>

namespace sweet {

enum class Code : int32_t {
  ok,
  memory,              // scratch memory could not be had
  shape,               // an array became shorter than the call's shapes ask for
  label,               // index: row, value: the label
  turn_offsets,        // index: position in turnOffsets, value: what stands there
  trajectory_offsets,  // likewise
  empty_turn,          // index: turn
  empty_trajectory,    // index: trajectory
  chosen,              // index: pair, value: the index it names
  rejected,            // likewise
  same_pair,           // index: pair, value: the index both name
  pair_weight,         // index: pair
  zero_weights,        // every weight is 0
  partial_rows,        // index: shard; it has other rows
  partial_shard,       // index: shard; it is none, or of another vocabulary or temperature than the first one
  partial_entropy,     // index: shard; it has no sums for the entropy
  partial_words,       // index: shard, value: a word that no shard has, or several
  device,              // a call of the device's driver failed; value: its error's number
  products,            // what was named to compute matrix products on a device cannot be used; see products.h
  cancelled,           // see cancel.h; results hold anything
};

/** Of Code::device: which call failed, its error's name and meaning; sticky: every later call will fail as well. */
struct DeviceFault {
  const char* operation;
  const char* name;
  const char* meaning;
  bool sticky;
};

struct Status {
  Code code = Code::ok;
  int64_t index = 0;
  int64_t value = 0;
  DeviceFault device = {};

  bool ok() const { return code == Code::ok; }
};

}  // namespace sweet
