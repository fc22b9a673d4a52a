#pragma once
// Sums of rows with weights in f32, compiled for each SIMD instruction set and chosen at run time: what RoIAlign is
// made of on the CPU.

#include <cstdint>

#include "usol/tensor/half.h"

namespace usol {

/// to[c] = sum over k < count of weights[k] rows[k stride + c], c < n.
void weighted_sum(const float* weights, std::int64_t count, const float* rows, std::int64_t stride, std::int64_t n,
                  float* to);
void weighted_sum(const float* weights, std::int64_t count, const bf16* rows, std::int64_t stride, std::int64_t n,
                  float* to);
/// to[c] += weight row[c], c < n.
void weighted_add(float weight, const float* row, std::int64_t n, float* to);
/// to[c rows + r] = from[r columns + c], r < rows, c < columns; rounded to bf16 for the second.
void transpose_rows(const float* from, std::int64_t rows, std::int64_t columns, float* to);
void transpose_rows(const float* from, std::int64_t rows, std::int64_t columns, bf16* to);

}  // namespace usol
