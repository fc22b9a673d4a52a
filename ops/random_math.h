#pragma once
// The scalar functions of random.h, shared by the CPU and the CUDA kernel. std::fma is asked for by name: a compiler
// that contracts a * b + c on one device only would give other bits.

#include <cmath>
#include <cstdint>

#include "usol/tensor/generator.h"

namespace usol::random {

USOL_HOST_DEVICE inline double uniform(double low, double high, std::uint32_t word) {
  return ::fma(high - low, static_cast<double>(Generator::to_unit(word)), low);
}

/// Box-Muller from two words, as Generator::normal().
USOL_HOST_DEVICE inline double normal(double mean, double std, std::uint32_t word0, std::uint32_t word1) {
  const double u = 1.0 - Generator::to_unit(word0);  // (0, 1]
  const double v = Generator::to_unit(word1);
  return ::fma(std, ::sqrt(-2.0 * ::log(u)) * ::cos(6.283185307179586 * v), mean);
}

}  // namespace usol::random
