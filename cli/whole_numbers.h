#pragma once
// Lists of whole numbers among a verb's options, which are read as numbers.

#include <cstdint>
#include <string>
#include <vector>

namespace usol {

/// The values as whole numbers above 0. Throws Error(kUsage) naming the option.
std::vector<std::int64_t> whole_numbers(const std::vector<double>& values, const std::string& key);

}  // namespace usol
