#pragma once
// Named results, as every metric of this room reports them.

#include <string>
#include <utility>
#include <vector>

namespace usol::eval {

/// Name and value, a fraction; -1 where there was nothing to measure.
using Metrics = std::vector<std::pair<std::string, double>>;

}  // namespace usol::eval
