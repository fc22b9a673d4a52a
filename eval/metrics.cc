#include "usol/eval/metrics.h"

#include <nlohmann/json.hpp>

namespace usol::eval {

nlohmann::ordered_json metrics_json(const Metrics& metrics) {
  auto object = nlohmann::ordered_json::object();
  for (const auto& [name, value] : metrics) object[name] = value;
  return object;
}

}  // namespace usol::eval
