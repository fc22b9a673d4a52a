#include "usol/cli/whole_numbers.h"

#include <cmath>

#include "usol/tensor/check.h"

namespace usol {

std::vector<std::int64_t> whole_numbers(const std::vector<double>& values, const std::string& key) {
  std::vector<std::int64_t> result;
  for (const double v : values) {
    check(std::nearbyint(v) == v && v >= 1 && v <= 1e9, ErrorKind::kUsage,
          "--{}: expected whole numbers above 0, got {}", key, v);
    result.push_back(static_cast<std::int64_t>(v));
  }
  return result;
}

}  // namespace usol
