#pragma once
// Sums of rows with weights in f32, compiled for each SIMD instruction set and chosen at run time: what RoIAlign is
// made of on the CPU.

#include <cstdint>

namespace usol {

/// to[c] = sum over k < count of weights[k] rows[k stride + c], c < n.
void weighted_sum(const float* weights, std::int64_t count, const float* rows, std::int64_t stride, std::int64_t n,
                  float* to);
/// to[c] += weight row[c], c < n.
void weighted_add(float weight, const float* row, std::int64_t n, float* to);

}  // namespace usol
