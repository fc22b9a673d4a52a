#pragma once
// Small random choices that several augmentations make.

#include <cmath>
#include <cstdint>

#include "usol/tensor/generator.h"

namespace usol::train {

/// True with that probability.
inline bool happens(double probability, Generator& generator) { return generator.uniform(0, 1) < probability; }
/// One of 0 ... most.
inline std::int64_t at_most(std::int64_t most, Generator& generator) {
  return static_cast<std::int64_t>(generator.below(static_cast<std::uint64_t>(most) + 1));
}
/// Python's round(): halves to the even number.
inline std::int64_t rounded(double value) { return static_cast<std::int64_t>(std::nearbyint(value)); }

}  // namespace usol::train
