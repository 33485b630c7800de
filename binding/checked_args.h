// Reads the arguments of a call, in the order of binding/operations.js. lib/ has checked classes, lengths and options;
// the operation checks the values inside the arrays; here the length of every array is checked against the shapes of
// the call again.
#pragma once

#include <cstdint>
#include <type_traits>

namespace sweet {

/**
 * The rules of arguments, over a Source that reads the next one:
 *
 *   double number()  bool boolean()
 *   void* pointer(int64_t min_length, bool written)   of an array; null for a missing one; calls require()
 */
template <class Source>
class CheckedArgs {
 public:
  /** The memory of a typed array (at its offset) or of a DeviceBuffer, with at least `min_length` elements. */
  template <class T>
  T* array(int64_t min_length) {
    T* const data = optional_array<T>(min_length);
    require(data != nullptr);
    return data;
  }

  /** The same, or null for undefined. */
  template <class T>
  T* optional_array(int64_t min_length) {
    return static_cast<T*>(source().pointer(min_length, !std::is_const_v<T>));
  }

  int64_t integer() { return static_cast<int64_t>(source().number()); }

  /** The length of a list of at most `most` groups. */
  int64_t count(int64_t most) {
    const int64_t length = integer();
    require(length >= 0 && length <= most);
    return valid_ ? length : 0;
  }

  /** An enum with `count` values, passed as a number. */
  template <class E>
  E choice(int count) {
    const double value = source().number();
    require(value >= 0 && value < count);
    return static_cast<E>(static_cast<int32_t>(value));
  }

  /** If the condition is false, the call is not run and its status is Code::shape. */
  void require(bool condition) { valid_ = valid_ && condition; }
  bool valid() const { return valid_; }

 private:
  Source& source() { return static_cast<Source&>(*this); }

  bool valid_ = true;
};

}  // namespace sweet
