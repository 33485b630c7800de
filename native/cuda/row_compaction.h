// Rows of a linear head to and from the chunks in which they are computed. rows (in device memory) are those of a
// chunk, from compact_rows().
#pragma once

#include "logps.h"

namespace sweet {
namespace cuda {

/** to[i] = from[rows[i]]; from [N, columns], dense rows, to [count, columns] of the same type or of float32 */
void gather_rows(LaunchContext& context, const Operand& from, const int64_t* rows, int64_t count, int64_t columns,
                 DType to_dtype, void* to);
/** to[i] = from[i] as float32; from [rows, columns], row_stride elements apart, to dense */
void widen_rows(LaunchContext& context, DType dtype, const void* from, int64_t row_stride, int64_t rows,
                int64_t columns, float* to);
void gather_labels(LaunchContext& context, const int32_t* from, const int64_t* rows, int64_t count, int32_t* to);

/** to[rows[i]] = from[i], or += with `add`; from [count, columns], to [N, columns] */
void scatter_rows(LaunchContext& context, const float* from, const int64_t* rows, int64_t count, int64_t columns,
                  bool add, float* to);
/** to[rows[i]] (+)= scales[rows[i]] * from[rows[i]]; from and to [N, columns], scales [N] */
void scale_rows(LaunchContext& context, const float* from, const float* scales, const CompactedRows& rows,
                int64_t columns, bool add, float* to);
/** from [count] each, with lse; to [N] each */
void scatter_results(LaunchContext& context, const ForwardOut& from, const int64_t* rows, int64_t count,
                     const ForwardOut& to);

}  // namespace cuda
}  // namespace sweet
