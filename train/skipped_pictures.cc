#include "usol/train/skipped_pictures.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "usol/io/json_text.h"
#include "usol/ops/rank_values.h"
#include "usol/tensor/check.h"

namespace usol::train {

using Json = nlohmann::ordered_json;

std::vector<SkippedPicture> SkippedPictures::add(const std::vector<SkippedPicture>& met) {
  constexpr std::size_t kShown = 5;
  std::map<std::int64_t, std::string> of_this_rank;
  std::vector<double> numbers;
  for (const SkippedPicture& picture : met) {
    if (all_.contains(picture.index) || !of_this_rank.emplace(picture.index, picture.why).second) continue;
    numbers.push_back(static_cast<double>(picture.index));
  }
  std::vector<SkippedPicture> added;
  for (const double number : gather_values(numbers, ranks_)) {
    const auto index = static_cast<std::int64_t>(number);
    if (all_.contains(index)) continue;
    // Only numbers travel between ranks; the reason is found once more.
    const auto own = of_this_rank.find(index);
    const std::string why = own != of_this_rank.end() ? own->second : why_(index);
    all_.emplace(index, why);
    added.push_back({index, why});
  }
  std::sort(added.begin(), added.end(), [](const auto& a, const auto& b) { return a.index < b.index; });
  if (added.empty() || static_cast<double>(size()) <= most_ * static_cast<double>(pictures_)) return added;
  std::vector<std::string> first;
  for (const auto& [index, why] : all_)
    if (first.size() < kShown) first.push_back(why);
  throw TooManySkipped(
      ErrorKind::kFormat,
      fmt::format("{} of {} pictures cannot be read, more than the share of {} that may be skipped: "
                  "{}{}",
                  size(), pictures_, most_, fmt::join(first, "; "), all_.size() > first.size() ? "; ..." : ""));
}

std::vector<std::int64_t> SkippedPictures::indices() const {
  std::vector<std::int64_t> indices;
  for (const auto& [index, why] : all_) indices.push_back(index);
  return indices;
}

std::string SkippedPictures::text() const {
  std::string text;
  for (const auto& [index, why] : all_) text += why + "\n";
  return text;
}

std::string SkippedPictures::state() const {
  Json state = Json::array();
  for (const auto& [index, why] : all_) state.push_back({index, why});
  return io::json_text(state);
}

void SkippedPictures::load_state(const std::string& state) {
  const Json pictures = Json::parse(state, nullptr, false);
  try {
    for (const Json& picture : pictures)
      all_.emplace(picture.at(0).get<std::int64_t>(), picture.at(1).get<std::string>());
  } catch (const Json::exception& error) {
    fail(ErrorKind::kFormat, fmt::format("skipped pictures: malformed state: {}", error.what()));
  }
  check(pictures.is_array(), ErrorKind::kFormat, "skipped pictures: malformed state");
}

}  // namespace usol::train
