#pragma once
// Layer normalisation of bf16 rows on the CPU.

#include <cstdint>

#include "usol/tensor/half.h"

namespace usol {

/// out = (x - mean) rstd weight + bias for `rows` rows of `columns` values, all dense, on the calling thread; f32
/// inside, rounded once. mean and rstd [rows] receive the statistics.
void layer_norm_bf16(const bf16* x, std::int64_t rows, std::int64_t columns, const bf16* weight, const bf16* bias,
                     float epsilon, bf16* out, float* mean, float* rstd);

}  // namespace usol
