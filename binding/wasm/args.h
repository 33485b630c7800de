// The arguments of a call of the WebAssembly module: a block of numbers in its memory. A number or a boolean takes one,
// an array two: its address and its length; a missing array 0 and 0. lib/addon/wasm-native.ts writes them.
#pragma once

#include "../../native/status.h"
#include "../checked_args.h"

namespace sweet {

struct CallInfo {
  double* arguments;
};

/** The number that an operation returns; NaN of one that returns a status, which is then last_status. */
using CallResult = double;

using Operation = CallResult (*)(const CallInfo& info);

/** Receives the operations in the order of their names in lib/addon/operations.ts. */
struct Exports {
  Operation* next;
};

extern Status last_status;

class Args : public CheckedArgs<Args> {
 public:
  explicit Args(const CallInfo& info) : next_(info.arguments) {}

  double number() { return *next_++; }
  bool boolean() { return number() != 0; }

  /** Of an array, the address in the block becomes 1 where the call writes it, else 0. */
  void* pointer(int64_t min_length, bool written) {
    void* const data = reinterpret_cast<void*>(static_cast<uintptr_t>(*next_));
    *next_++ = written;
    const double length = number();
    require(data != nullptr ? length >= static_cast<double>(min_length) : length == 0);
    return data;
  }

  template <class F>
  CallResult perform(const F& call) {
    last_status = valid() ? call() : Status{Code::shape};
    return __builtin_nan("");
  }

  template <class F>
  CallResult compute(const F& call, double otherwise) {
    return valid() ? static_cast<double>(call()) : otherwise;
  }

 private:
  double* next_;
};

/** In binding/generated/operations.cc. */
void register_operations(Exports exports);

inline void add_operation(Exports& exports, const char*, Operation operation, bool) { *exports.next++ = operation; }

}  // namespace sweet
