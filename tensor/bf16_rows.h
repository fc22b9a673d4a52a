#pragma once
// Loops over rows of bf16, vectorised: the bits of the plain ones, `to[i] = bf16(f(float(a[i]), ...))`. `to` may be one
// of the inputs.

#include <cstdint>

#include "usol/tensor/half.h"

namespace usol::bf16_rows {

void widen(const bf16* from, std::int64_t n, float* to);
void narrow(const float* from, std::int64_t n, bf16* to);
/// a + b
void add(const bf16* a, const bf16* b, std::int64_t n, bf16* to);
/// max(a, 0)
void relu(const bf16* a, std::int64_t n, bf16* to);
/// grad where `a` is positive, and grad times 0 elsewhere.
void relu_grad(const bf16* a, const bf16* grad, std::int64_t n, bf16* to);

}  // namespace usol::bf16_rows
