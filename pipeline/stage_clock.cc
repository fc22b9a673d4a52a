#include "usol/pipeline/stage_clock.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "usol/io/atomic_file.h"

namespace usol {

StageClock::StageClock(const std::vector<std::string>& stages) {
  for (const auto& stage : stages) seconds_.emplace_back(stage, 0);
}

void StageClock::add(const std::string& stage, double seconds) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(seconds_.begin(), seconds_.end(), [&](const auto& s) { return s.first == stage; });
  if (found == seconds_.end()) {
    seconds_.emplace_back(stage, seconds);
  } else {
    found->second += seconds;
  }
}

void StageClock::count_image() {
  const std::lock_guard lock(mutex_);
  ++images_;
}

void StageClock::write(const std::filesystem::path& path) const {
  const std::lock_guard lock(mutex_);
  nlohmann::ordered_json json{{"images", images_}, {"seconds", nlohmann::ordered_json::object()}};
  for (const auto& [stage, seconds] : seconds_) json["seconds"][stage] = seconds;
  json["info"] = {{"description", "usol times"}};
  io::write_file(path, json.dump(1) + "\n");
}

}  // namespace usol
