#include "usol/pipeline/discover_methods.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "usol/io/sha256.h"
#include "usol/tensor/check.h"

namespace usol {

DiscoverMethod::DiscoverMethod() {
  for (const maskcut::DiscovererKind& kind : Registry<maskcut::DiscovererKind>::all())
    methods_[kind.name] = kind.make();
}

void DiscoverMethod::declare(Settings& settings) {
  settings.group("Method");
  std::vector<std::string> names;
  std::string help = "What finds the objects";
  for (const maskcut::DiscovererKind& kind : Registry<maskcut::DiscovererKind>::all()) {
    names.push_back(kind.name);
    help += fmt::format("{} {}: {}", names.size() == 1 ? "." : ";", kind.name, kind.summary);
  }
  settings.choice("method", method_, names, help);
  settings.preset(preset_, {{"paper", {}}, {"release", {{"exif", "false"}}}},
                  "paper: as published. release: as the methods' public code does it (docs/deviations.md)");
  for (const auto& [name, method] : methods_)
    settings.when("method", name, [&own = *method](Settings& s) { own.declare(s); });
}

void DiscoverMethod::settle(FeatureOptions& source, std::uint64_t seed) {
  const maskcut::Discoverer& method = chosen();
  check(source.size == 0 || source.size >= 8, ErrorKind::kUsage, "size: expected 0 or at least 8, got {}", source.size);
  options_ = {parse_preset(preset_), seed, source.size, source.native_aspect};
  method.check(options_);
  if (source.size == 0) source.size = options_.size_px = method.usual_size_px();
  check(source.size != 0 || !source.native_aspect, ErrorKind::kUsage,
        "native-aspect needs a size; without, pictures keep their own");
  source.framing = source.size != 0 ? Framing::kFrame : method.framing();
  source.short_side = method.short_side();
  source.attention = method.needs_attention();
}

void DiscoverMethod::load() {
  for (const auto& [what, path] : chosen().files()) {
    check(std::filesystem::exists(path), ErrorKind::kUsage, "{} {}: no such file", what, path);
    hashes_[what] = io::sha256_file(path);
  }
  chosen().load();
}

maskcut::DiscoveredObjects DiscoverMethod::find(const PatchMaps& maps, const Tensor& image, std::int64_t patch,
                                                const Size& pixels) const {
  return chosen().find({image, maps, patch, pixels, options_});
}

std::vector<std::string> DiscoverMethod::reads() const {
  std::vector<std::string> paths;
  for (const auto& file : chosen().files()) paths.push_back(file.second);
  return paths;
}

void DiscoverMethod::describe(nlohmann::ordered_json& info) const {
  for (const auto& [what, hash] : hashes_) {
    std::string key = what + "_sha256";
    std::replace(key.begin(), key.end(), '-', '_');
    info[key] = hash;
  }
}

}  // namespace usol
