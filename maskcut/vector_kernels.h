#pragma once
// Products of tall thin f64 matrices with vectors, for the reorthogonalisation in maskcut/lanczos.cc.

#include <cstdint>

namespace usol::maskcut {

/// out[j * columns + i] = basis_i . x_j for `columns` basis vectors and `vectors` vectors x, each of n elements and
/// `stride` apart. The order of every sum is fixed, whatever the number of threads.
void dot_products(const double* basis, std::int64_t columns, const double* x, std::int64_t vectors, std::int64_t n,
                  std::int64_t stride, double* out);

/// x_j -= sum_i coefficients[j * columns + i] * basis_i, laid out as in dot_products().
void subtract_combination(const double* basis, std::int64_t columns, const double* coefficients, double* x,
                          std::int64_t vectors, std::int64_t n, std::int64_t stride);

}  // namespace usol::maskcut
