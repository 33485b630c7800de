// What an operation returns: success, or the rule that the input breaks and where. Nothing is written when a rule is
// broken.
#pragma once

#include <cstdint>

namespace sweet {

enum class Code : int32_t {
  ok,
  memory,              // allocation of scratch memory failed
  shape,               // an array became shorter than the call's shapes ask for
  label,               // index: row, value: the label
  turn_offsets,        // index: position in turnOffsets, value: the offset
  trajectory_offsets,  // likewise
  empty_turn,          // index: turn
  empty_trajectory,    // index: trajectory
  chosen,              // index: pair, value: the index it names
  rejected,            // likewise
  same_pair,           // index: pair, value: the index both name
  pair_weight,         // index: pair
  zero_weights,        // every weight is 0
  token_weight,        // index: token, value: the bits of its weight
  unit_weight,         // index: item of an unpaired loss, value: likewise
  teacher_index,       // index: of teacherIndices, value: the vocabulary entry
  teacher_twice,       // likewise; the row has the entry before
  teacher_logps,       // index: row; its probabilities add up to more than 1, or of all V entries to less
  shard_rows,          // index: shard; of another number of rows
  shard_mismatch,      // index: shard; invalid, or of another vocabulary or temperature than the first
  shard_no_entropy,    // index: shard; it has no sum_t_exp
  shard_statistics,    // index: shard; it has other further statistics than were asked for, or than the others
  shard_mask,          // index: shard; computed with another mask than the merge has
  shard_labels,        // likewise with other labels
  shard_coverage,      // index: shard, value: a vocabulary entry that no shard or several shards have
  device,              // a CUDA call failed; value: the error number
  device_gemm,         // the named cuBLASLt cannot be used; see device_gemm.h
  cancelled,           // see cancel.h; the contents of results are undefined
};

/** Of Code::device: the call, the name and the message of its error; sticky: every later call of the process fails. */
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
