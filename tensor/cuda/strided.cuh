#pragma once
// Walks several tensors of one shape together, whatever their strides: the device's tensor/strided.h. Dimensions that
// are dense for all operands are merged on the host, so most walks have few.

#include <cuda_runtime.h>

#include <cstdint>
#include <initializer_list>

#include "usol/tensor/shape.h"

namespace usol::cuda {

/// Passed by value to kernels. K operands.
template <int K>
struct StridedIndex {
  int rank = 0;
  bool small = false;  // all indices fit 32 bits: their divisions are several times cheaper
  std::int64_t sizes[Shape::kMaxRank] = {};
  std::int64_t strides[Shape::kMaxRank][K] = {};

  /// strides[k] are operand k's, in elements (0 where it is broadcast).
  StridedIndex(const Shape& shape, std::initializer_list<Shape> operands) {
    for (int d = 0; d < shape.rank(); ++d) {
      if (shape[d] == 1) continue;
      bool merges = rank > 0;
      int k = 0;
      for (const Shape& s : operands) merges = merges && strides[rank - 1][k++] == s[d] * shape[d];
      if (!merges) sizes[rank++] = 1;
      sizes[rank - 1] *= shape[d];
      k = 0;
      for (const Shape& s : operands) strides[rank - 1][k++] = s[d];
    }
    small = shape.numel() < (std::int64_t{1} << 31);
  }

  /// True if each operand is one dense run.
  bool dense() const {
    if (rank > 1) return false;
    for (int k = 0; k < K; ++k)
      if (rank == 1 && strides[0][k] != 1) return false;
    return true;
  }

  /// Element offsets of the operands at a row-major index.
  __device__ void offsets(std::int64_t index, std::int64_t (&out)[K]) const {
    for (int k = 0; k < K; ++k) out[k] = 0;
    if (small)
      walk(static_cast<std::uint32_t>(index), out);
    else
      walk(static_cast<std::uint64_t>(index), out);
  }

 private:
  template <class Index>
  __device__ void walk(Index index, std::int64_t (&out)[K]) const {
    for (int d = rank - 1; d >= 0; --d) {
      const auto size = static_cast<Index>(sizes[d]);
      const Index rest = index / size;
      const auto here = static_cast<std::int64_t>(index - rest * size);
      for (int k = 0; k < K; ++k) out[k] += here * strides[d][k];
      index = rest;
    }
  }
};

}  // namespace usol::cuda
