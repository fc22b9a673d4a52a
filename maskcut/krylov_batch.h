#pragma once
// The vectors of block Lanczos (maskcut/krylov.h) for many patch graphs at once, in a device's memory. One thread block
// makes all steps of one problem between two looks of the host, so problems neither wait for one another nor share a
// sum: a problem's bits do not depend on the batch it is in.

#include <cstdint>
#include <memory>
#include <span>

#include "usol/maskcut/bit_matrix.h"
#include "usol/maskcut/krylov.h"
#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol::maskcut {

/// What the kernels work on; everything dense, on one device.
struct KrylovBatch {
  double eps = 0;             // of W = eps 11' + (1 - eps) B; the operator is D^(-1/2) W D^(-1/2)
  std::int64_t block = 0;     // vectors of a step, at most
  std::int64_t capacity = 0;  // basis vectors, at most
  Tensor bits;                // i64 [N, words * 8, words, 8], words = ceil(n / 64): the words of BitMatrix::raw()
  Tensor scale;               // f64 [N, n]: D^(-1/2)
  Tensor columns;             // f64 [N, 1 + capacity + 2 block, n]: the deflated vector, V, U, a candidate
  Tensor image;               // f64 [N, block, n]: A U
  Tensor matrix;              // f64 [N, capacity, capacity]: H in its upper left corner
  Tensor coupling;            // f64 [N, block * block]: R, column after column
  Tensor counts;              // i64 [N, kCounts], zeros at first
  enum Count { kSize, kFrontier, kEdge, kNextFixed, kProducts, kCounts };  // kEdge: columns of E

  std::int64_t problems() const { return columns.size(0); }
  std::int64_t n() const { return columns.size(2); }
};

/// KrylovVectors::grow(); targets i64 [N].
extern Kernel<void(KrylovBatch& batch, const Tensor& targets)> krylov_grow_kernel;
/// KrylovVectors::restart(); pairs i64 [N], values f64 [N, P], coefficients f64 [N, P, capacity]; scratch f64 [N, P,
/// n].
extern Kernel<void(KrylovBatch& batch, const Tensor& pairs, const Tensor& values, const Tensor& coefficients,
                   Tensor& scratch)>
    krylov_restart_kernel;
/// KrylovVectors::take(); arguments as above. Writes the first pairs[i] rows of vectors f64 [N, P, n] and their
/// residuals f64 [N, P].
extern Kernel<void(KrylovBatch& batch, const Tensor& pairs, const Tensor& values, const Tensor& coefficients,
                   Tensor& vectors, Tensor& residuals)>
    krylov_take_kernel;

/// One problem of a batch: pointers to what make_device_krylov() copies.
struct KrylovProblem {
  const BitMatrix* bits;
  const double* scale;     // [n]: D^(-1/2)
  const double* deflated;  // [n]
};

/// The vectors of problems of one size on `device`, with one W's eps. There is at least one problem.
std::unique_ptr<KrylovVectors> make_device_krylov(std::span<const KrylovProblem> problems, double eps,
                                                  std::int64_t block, std::int64_t capacity, Device device);

}  // namespace usol::maskcut
