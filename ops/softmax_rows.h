#pragma once
// The f32 softmax of ops/softmax.cc, compiled for each SIMD instruction set and chosen at run time.

#include <cstdint>

namespace usol {

/// softmax (or log_softmax) of each of `rows` dense rows of n > 0 elements; `in` may be `out`. On the calling thread.
void softmax_rows(bool log, const float* in, float* out, std::int64_t rows, std::int64_t n);

}  // namespace usol
