#include "usol/pipeline/normalisation.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

// Three numbers that a hub's configuration has; nothing if they are not there.
std::optional<std::array<float, 3>> numbers(const std::map<std::string, std::string>& metadata, const char* key) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) return std::nullopt;
  const auto parsed = nlohmann::json::parse(found->second, nullptr, false);
  if (!parsed.is_array() || parsed.size() != 3) return std::nullopt;
  std::array<float, 3> values{};
  for (std::size_t i = 0; i < 3; ++i) {
    if (!parsed[i].is_number()) return std::nullopt;
    values[i] = parsed[i].get<float>();
  }
  return values;
}

// Whether the file or its folder is called after the satellite pictures.
bool named_after_satellites(const std::string& weights) {
  const fs::path path = fs::absolute(weights).lexically_normal();
  for (const fs::path& part : {path.filename(), path.parent_path().filename()}) {
    std::string name = part.string();
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    if (name.find("sat493m") != std::string::npos) return true;
  }
  return false;
}

}  // namespace

void declare_normalisation(Settings& settings, std::string& choice) {
  settings.choice("normalisation", choice, {"auto", "imagenet", "satellite"},
                  "Mean and deviation of the pictures' colours that the weights expect. auto: as the weights say "
                  "(docs/weights.md). satellite: those of DINOv3's models of satellite pictures",
                  OptionKind::kLater);
}

ChosenNormalisation choose_normalisation(const std::string& choice, const PatchBackbone& backbone,
                                         const std::string& weights,
                                         const std::map<std::string, std::string>& metadata) {
  if (choice == "imagenet") return {{}, "as asked for"};
  if (choice == "satellite") return {kSatelliteNormalisation, "as asked for"};
  check(choice == "auto", ErrorKind::kUsage, "normalisation: expected auto, imagenet or satellite, got '{}'", choice);
  const auto mean = numbers(metadata, "config.image_mean"), deviation = numbers(metadata, "config.image_std");
  const bool usable =
      mean && deviation && std::all_of(deviation->begin(), deviation->end(), [](float d) { return d > 0; });
  if (usable) return {{*mean, *deviation}, "as the folder's configuration says"};
  if (!(backbone.normalisation() == Normalisation{}))
    return {backbone.normalisation(), "as the network is known to need"};
  if (named_after_satellites(weights)) return {kSatelliteNormalisation, "since its name says sat493m"};
  return {backbone.normalisation(), "as the network needs"};
}

}  // namespace usol
