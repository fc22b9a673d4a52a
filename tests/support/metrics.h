#pragma once
// A training's figures, for tests that compare two trainings.

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/process.h"

namespace usol::test {

/// The lines of a metrics.json without what depends on the machine: times and memory.
inline std::vector<nlohmann::ordered_json> read_metrics(const std::filesystem::path& path) {
  std::vector<nlohmann::ordered_json> lines;
  std::istringstream in(read_text(path));
  for (std::string line; std::getline(in, line);) {
    auto json = nlohmann::ordered_json::parse(line);
    for (const char* key : {"time", "data_time", "eta_seconds", "max_mem"}) json.erase(key);
    lines.push_back(std::move(json));
  }
  return lines;
}

}  // namespace usol::test
