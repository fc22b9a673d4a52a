#include "usol/tensor/generator.h"

#include <cmath>
#include <numbers>

namespace usol {

double Generator::uniform(double low, double high) {
  const std::uint64_t upper = next_word();
  const std::uint64_t bits = (upper << 21) ^ (next_word() >> 11);
  return low + (high - low) * (static_cast<double>(bits) * 0x1p-53);
}

std::uint64_t Generator::below(std::uint64_t n) {
  // Reject the top values that would make the small remainders more likely.
  const std::uint64_t limit = n == 0 ? 0 : (~std::uint64_t{0} - n + 1) % n;
  for (;;) {
    const std::uint64_t high = next_word();
    const std::uint64_t bits = (high << 32) | next_word();
    if (bits >= limit) return bits % n;
  }
}

float Generator::normal() {
  const double u = 1.0 - uniform();  // (0, 1]
  const double v = uniform();
  return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v));
}

}  // namespace usol
