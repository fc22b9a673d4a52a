#pragma once
// The method of `usol discover`: one of those that are registered (maskcut/discoverer.h), with its settings and those
// that all methods have.

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "usol/maskcut/discoverer.h"
#include "usol/pipeline/feature_source.h"
#include "usol/tensor/settings.h"
#include "usol/tensor/tensor.h"

namespace usol {

class DiscoverMethod {
 public:
  /// All registered methods, with their defaults.
  DiscoverMethod();
  void declare(Settings& settings);
  /// Checks the settings against each other, fills in what was left to the method (`size` too) and tells `source` what
  /// to make. Throws Error(kUsage).
  void settle(FeatureOptions& source, std::uint64_t seed);
  /// Reads the method's files. Throws Error(kUsage) if one does not exist.
  void load();

  /// The objects of a picture u8 [H, W, 3]; `pixels` is what its patch grid stands for (FeatureOptions::picture_size).
  /// Throws Error if the maps do not belong to the picture.
  maskcut::DiscoveredObjects find(const PatchMaps& maps, const Tensor& image, std::int64_t patch,
                                  const Size& pixels) const;

  const std::string& name() const { return method_; }
  bool gives_maps() const { return chosen().gives_maps(); }
  std::string why_undivided() const { return chosen().why_undivided(); }
  std::int64_t most_patches() const { return chosen().most_patches(); }
  /// The paths of the method's files.
  std::vector<std::string> reads() const;
  /// Adds the hashes of the method's files to an output's `info`, once they are loaded.
  void describe(nlohmann::ordered_json& info) const;

 private:
  maskcut::Discoverer& chosen() const { return *methods_.at(method_); }

  std::map<std::string, std::unique_ptr<maskcut::Discoverer>> methods_;
  std::string method_ = "tokencut", preset_ = "paper";
  maskcut::DiscoverOptions options_;
  std::map<std::string, std::string> hashes_;  // by what the file is
};

}  // namespace usol
