// The transpose of a matrix of 32-bit elements: to[c][r] = from[r][c]. Blocks of 4 x 4 are transposed in registers by
// the instructions that every CPU of the architecture has.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace sweet::reference {

/** [rows, columns] to [columns, rows]; rows `from_stride` and `to_stride` elements apart. */
static inline void transpose(const uint32_t* from, int64_t from_stride, int64_t rows, int64_t columns, uint32_t* to,
                             int64_t to_stride) {
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t c = 0; c < columns; c++) to[c * to_stride + r] = from[r * from_stride + c];
  }
}

}  // namespace sweet::reference

namespace sweet {

static inline void transpose_4x4(const uint32_t* from, int64_t from_stride, uint32_t* to, int64_t to_stride) {
#if defined(__SSE2__)
  const auto load = [&](int64_t r) { return _mm_loadu_ps(reinterpret_cast<const float*>(from + r * from_stride)); };
  __m128 a = load(0), b = load(1), c = load(2), d = load(3);
  _MM_TRANSPOSE4_PS(a, b, c, d);
  const auto store = [&](int64_t r, __m128 x) { _mm_storeu_ps(reinterpret_cast<float*>(to + r * to_stride), x); };
  store(0, a), store(1, b), store(2, c), store(3, d);
#elif defined(__aarch64__)
  const auto load = [&](int64_t r) { return vld1q_u32(from + r * from_stride); };
  const auto low = [](uint32x4_t x, uint32x4_t y) { return vreinterpretq_u64_u32(vtrn1q_u32(x, y)); };
  const auto high = [](uint32x4_t x, uint32x4_t y) { return vreinterpretq_u64_u32(vtrn2q_u32(x, y)); };
  const uint32x4_t a = load(0), b = load(1), c = load(2), d = load(3);
  const auto store = [&](int64_t r, uint64x2_t x) { vst1q_u32(to + r * to_stride, vreinterpretq_u32_u64(x)); };
  store(0, vtrn1q_u64(low(a, b), low(c, d)));
  store(1, vtrn1q_u64(high(a, b), high(c, d)));
  store(2, vtrn2q_u64(low(a, b), low(c, d)));
  store(3, vtrn2q_u64(high(a, b), high(c, d)));
#else
  reference::transpose(from, from_stride, 4, 4, to, to_stride);
#endif
}

/** As the reference. Of 16 columns at a time, which are one line of the cache in each row. */
static inline void transpose(const uint32_t* from, int64_t from_stride, int64_t rows, int64_t columns, uint32_t* to,
                             int64_t to_stride) {
  constexpr int64_t kColumns = 16;
  const int64_t whole_rows = rows - rows % 4, whole_columns = columns - columns % 4;
  for (int64_t first = 0; first < whole_columns; first += kColumns) {
    const int64_t end = first + kColumns < whole_columns ? first + kColumns : whole_columns;
    for (int64_t r = 0; r < whole_rows; r += 4) {
      for (int64_t c = first; c < end; c += 4) {
        transpose_4x4(from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride);
      }
    }
  }
  reference::transpose(from + whole_rows * from_stride, from_stride, rows - whole_rows, whole_columns, to + whole_rows,
                       to_stride);
  reference::transpose(from + whole_columns, from_stride, rows, columns - whole_columns, to + whole_columns * to_stride,
                       to_stride);
}

}  // namespace sweet
