#pragma once
// Sums over the numbers of a row, which groups of a million objects are made of: eight beside each other, so that an
// addition need not wait for the one before it. The order is always the same, whatever the processor.

#include <array>
#include <cstddef>
#include <cstdint>

namespace usol::maskcut {

/// term(0) + ... + term(count - 1), in f64.
template <class Term>
double lane_sum(std::int64_t count, const Term& term) {
  constexpr std::int64_t kLanes = 8;
  std::array<double, kLanes> sums{};
  std::int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes)
    for (std::int64_t lane = 0; lane < kLanes; ++lane) sums[static_cast<std::size_t>(lane)] += term(k + lane);
  for (; k < count; ++k) sums[0] += term(k);
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

}  // namespace usol::maskcut
