#pragma once
// Random tensors from Philox streams (tensor/generator.h): element i depends on (seed, stream, position) only, so CPU
// and CUDA give the same numbers whatever the number of threads.

#include <cstdint>

#include "usol/tensor/generator.h"
#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// Uniform numbers low + (high - low) u, u in [0, 1) with 24 bits, rounded to the dtype. Takes one position each from
/// the generator. Floating dtypes. Throws Error on another dtype.
Tensor uniform(const Shape& shape, Generator& generator, double low = 0, double high = 1, DType dtype = DType::kF32,
               Device device = {});
/// Normal numbers (Box-Muller in f64, two positions each), rounded to the dtype. Between CPU and CUDA the last bit of
/// an f64 may differ, so that of an f32 in about one of 10^8.
Tensor normal(const Shape& shape, Generator& generator, double mean = 0, double std = 1, DType dtype = DType::kF32,
              Device device = {});
/// A random order of 0 ... n-1, i64 on the CPU (Fisher-Yates). The same for every device by construction.
Tensor random_permutation(std::int64_t n, Generator& generator);

enum class Distribution { kUniform, kNormal };
/// Where the numbers of a call begin: a stream of a seed, and the position that generator.reserve() returned.
struct RandomState {
  std::uint64_t seed = 0, stream = 0, first = 0;
};
/// out: dense, floating. (a, b) is (low, high) or (mean, std).
extern Kernel<void(Distribution distribution, const RandomState& state, double a, double b, Tensor& out)> random_kernel;

}  // namespace usol
