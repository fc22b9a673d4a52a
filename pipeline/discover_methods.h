#pragma once
// The methods of `usol discover` and their options: patch maps of a picture -> objects in the picture, or a saliency
// map.

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "usol/io/rle.h"
#include "usol/maskcut/baselines/discovery.h"
#include "usol/maskcut/baselines/found.h"
#include "usol/models/preset.h"
#include "usol/pipeline/feature_source.h"
#include "usol/pipeline/settings.h"
#include "usol/tensor/tensor.h"

namespace usol {

struct DiscoveredObject {
  Tensor mask;    // u8 [H, W] of 0/1 at the picture's size, not empty
  io::Box box{};  // left, top, width, height; as the method has it
  double score = 1;
};

struct DiscoveredObjects {
  std::vector<DiscoveredObject> objects;
  Tensor soft;  // saliency: f64 [H, W] in about 0..1
};

/// All methods, in the order of the help.
const std::vector<std::string>& discover_methods();

class DiscoverMethod {
 public:
  void declare(Settings& settings);
  /// Checks the options against each other and the method, fills in what was left to the method (`size` too) and tells
  /// `source` what to make. Throws Error(kUsage).
  void settle(FeatureOptions& source, std::uint64_t seed);
  /// Reads found-weights if the method needs them.
  void load();

  /// The objects of a picture u8 [H, W, 3]; `pixels` is what its patch grid stands for (FeatureOptions::picture_size).
  /// Throws Error if the maps do not belong to the picture.
  DiscoveredObjects find(const PatchMaps& maps, const Tensor& image, std::int64_t patch, const Size& pixels) const;

  const std::string& name() const { return method_; }
  bool saliency() const { return task_ == "saliency"; }
  Preset preset() const { return parse_preset(preset_); }
  /// found-weights, "" without.
  const std::string& head_path() const { return head_path_; }
  /// Its SHA-256, "" without.
  const std::string& head_sha256() const { return head_sha256_; }

 private:
  bool background_only() const { return method_ == "found" && found_stage_ == "background"; }
  std::vector<maskcut::Discovery> discover(const PatchMaps& maps, std::int64_t patch, const Size& pixels) const;
  DiscoveredObjects find_maskcut(const PatchMaps& maps, const Tensor& image, std::int64_t patch) const;
  DiscoveredObjects find_saliency(const PatchMaps& maps, const Tensor& image, std::int64_t patch,
                                  const Size& pixels) const;

  std::string method_ = "tokencut", preset_ = "paper", task_ = "objects", bilateral_ = "auto", found_stage_ = "layer",
              head_path_;
  std::string head_sha256_;
  double tau_ = 2, mass_ = 0.6;
  std::int64_t k_patches_ = 100, head_index_ = 4, clusters_ = 3;
  std::uint64_t seed_ = 0;
  std::int64_t size_ = 0;
  bool native_aspect_ = false;
  maskcut::FoundHead head_;
};

}  // namespace usol
