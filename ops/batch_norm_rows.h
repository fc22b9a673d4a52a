#pragma once
// The loops of batch normalisation's gradient over rows of f32, vectorised: what the plain ones of ops/batch_norm.cc
// do. For that file only.

#include <cstdint>

namespace usol {

/// Rows [rows, channels] of the input and of the result's gradient; `out`, the result, where a ReLU follows (the
/// gradient passes where it is positive), or null.
struct BatchNormRows {
  const float *x, *grad, *out;
  std::int64_t rows, channels;
};

/// plain[c] += sum of the gradient, product[c] += sum of gradient times x, in f64 and in the order of the rows.
void batch_norm_grad_sums_f32(const BatchNormRows& in, double* plain, double* product);

/// grad_x = k[c] grad + k[channels + c] x + k[2 channels + c].
void batch_norm_grad_input_f32(const BatchNormRows& in, const float* k, float* grad_x);

}  // namespace usol
