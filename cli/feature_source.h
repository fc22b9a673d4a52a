#pragma once
// Where a verb's patch features come from: a DINO checkpoint, colour and texture, or files made before.
// Used by maskcut, features and discover.

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "cli/inputs.h"
#include "cli/verb.h"
#include "tensor/tensor.h"

namespace usol {

class FeatureSource {
 public:
  virtual ~FeatureSource() = default;
  /// What features() needs of a picture (u8 [H, W, 3]); runs on the reading thread.
  virtual Tensor prepare(const InputImage& input, const Tensor& image) const = 0;
  /// Patch features f32 [D, h, w], on the device.
  virtual Tensor features(const Tensor& prepared) const = 0;
  /// Side of a patch, in pixels of the frame.
  virtual std::int64_t patch() const = 0;
  /// Adds what the features are to an output's `info`.
  virtual void describe(nlohmann::ordered_json& info) const = 0;
};

/// The options that choose the features.
struct FeatureOptions {
  std::string weights, backbone, kind = "k", from_features;
  std::int64_t size = 480, patch = 8;
  bool native_aspect = false;

  /// `files`: also from files made before.
  void declare(Options& options, bool files = true);
  /// Loads what is needed and settles `backbone`. Throws Error(kUsage) naming the remedies if nothing is chosen or two
  /// choices contradict each other.
  std::unique_ptr<FeatureSource> open(const Common& common);
  /// SHA-256 of the weights, "" without; made by open().
  const std::string& weights_sha256() const { return weights_sha256_; }

 private:
  std::string weights_sha256_;
};

}  // namespace usol
