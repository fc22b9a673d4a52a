#pragma once
// Numbers that look random and need no file: pattern() of the scripts in tests/golden/.

#include <cstdint>

#include "usol/tensor/tensor.h"

namespace usol::test {

/// f32 numbers in [-1, 1), a hash of the index and of `salt`.
inline Tensor pattern(const Shape& shape, std::uint64_t salt) {
  Tensor t = Tensor::empty(shape);
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    const std::uint64_t hash =
        (static_cast<std::uint64_t>(i) + 1000003 * salt) * 2654435761u % (std::uint64_t{1} << 32);
    t.mutable_data<float>()[i] = static_cast<float>(static_cast<double>(hash >> 8) * 0x1p-23 - 1);
  }
  return t;
}

}  // namespace usol::test
