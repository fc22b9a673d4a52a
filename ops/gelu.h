#pragma once
// The exact GELU on the CPU, fast: what a transformer's MLP applies to every product.

#include <cstdint>

namespace usol {

/// y[i] = x[i] Phi(x[i]) for n values, in place if x == y. Absolute error below 1.5e-7 max(1, |x|).
void gelu_f32(const float* x, float* y, std::int64_t n);

}  // namespace usol
