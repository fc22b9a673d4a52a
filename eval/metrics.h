#pragma once
// Named results, as every metric of this room reports them.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

namespace usol::eval {

/// Name and value, a fraction; -1 where there was nothing to measure.
using Metrics = std::vector<std::pair<std::string, double>>;

/// {"AP": 0.125, ...}, in their order.
nlohmann::ordered_json metrics_json(const Metrics& metrics);

}  // namespace usol::eval
