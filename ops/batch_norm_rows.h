#pragma once
// The loops of batch normalisation over rows of f32 or bf16, vectorised: what the plain ones of ops/batch_norm.cc do.
// For that file only. T: float or bf16; bf16 is widened to f32 and rounded once.

#include <cstdint>

#include "usol/tensor/half.h"

namespace usol {

/// Rows [rows, channels] of the input and of the result's gradient; `out`, the result, where a ReLU follows (the
/// gradient passes where it is positive), or null.
template <class T>
struct BatchNormRows {
  const T *x, *grad, *out;
  std::int64_t rows, channels;
};

/// plain[c] += sum of the gradient, product[c] += sum of gradient times x, in f64 and in the order of the rows.
void batch_norm_grad_sums_rows(const BatchNormRows<float>& in, double* plain, double* product);
void batch_norm_grad_sums_rows(const BatchNormRows<bf16>& in, double* plain, double* product);

/// grad_x = k[c] grad + k[channels + c] x + k[2 channels + c].
void batch_norm_grad_input_rows(const BatchNormRows<float>& in, const float* k, float* grad_x);
void batch_norm_grad_input_rows(const BatchNormRows<bf16>& in, const float* k, bf16* grad_x);

/// plain[c] += sum of x, square[c] += sum of its squares, in f64 and in the order of the rows.
void batch_norm_sums_rows(const bf16* x, std::int64_t rows, std::int64_t channels, double* plain, double* square);

/// to = [relu] (scale[c] x + shift[c]), rounded after the product too, as the plain loop is.
void batch_norm_apply_rows(const bf16* x, std::int64_t rows, std::int64_t channels, const float* scale,
                           const float* shift, bool relu, bf16* to);

}  // namespace usol
