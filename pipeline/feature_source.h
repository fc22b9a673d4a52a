#pragma once
// Where a verb's patch features come from: a DINO checkpoint, classical means, or files made before.
// Used by maskcut, features and discover.

#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "usol/maskcut/frame.h"
#include "usol/maskcut/usual_tau.h"
#include "usol/models/patch_backbone.h"
#include "usol/pipeline/crop_descriptor.h"
#include "usol/pipeline/inputs.h"
#include "usol/pipeline/pictures_at_once.h"
#include "usol/pipeline/run.h"
#include "usol/tensor/tensor.h"

namespace usol {

using maskcut::Framing;

/// What maps() needs of a picture: the backbone's input, or maps that were read from a file.
struct PreparedPicture {
  Tensor input;
  Tensor attention = {};
};

/// The features of some pictures, in their order.
using BatchFeatures = std::function<std::vector<Tensor>(const std::vector<const PreparedPicture*>&)>;

class FeatureSource {
 public:
  virtual ~FeatureSource() = default;
  /// For a picture u8 [H, W, 3]; runs on the reading thread.
  virtual PreparedPicture prepare(const InputImage& input, const Tensor& image) const = 0;
  /// Patch features f32 [D, h, w], and with FeatureOptions::attention the class token's attention f32 [heads, h, w]; on
  /// the device.
  virtual PatchMaps maps(const PreparedPicture& prepared) const = 0;
  Tensor features(const PreparedPicture& prepared) const { return maps(prepared).features; }
  /// Whether batch_features() is faster than maps() of each: a backbone on a device with memory of its own.
  virtual bool takes_batches() const { return false; }
  /// A function for the features of several pictures, at most `batch`, to be made and called by one thread on one
  /// stream. A picture's features are the same bits whatever the others are: the device always gets `batch` pictures of
  /// one shape (short batches are padded), or one. `graph`: pass what is always of one shape through a GraphedFunction.
  virtual BatchFeatures batch_features(std::int64_t batch, bool graph) const;
  /// The class token of the network on a crop of a picture u8 [H, W, 3], crop_class_token(): f32 [D] of length 1, on
  /// the CPU. Throws Error(kUsage) where the features are not a vision transformer's.
  virtual Tensor class_token(const Tensor& image, const io::Box& box, const CropOptions& options = {}) const;
  virtual bool has_class_token() const { return false; }
  /// Side of a patch, in pixels of the frame.
  virtual std::int64_t patch() const = 0;
  /// Of the features of a picture of the frame's size.
  virtual PictureCost cost() const { return {}; }
  /// The tau of MaskCut's graph on these features. Those of files count as published: whoever made them knows.
  virtual maskcut::UsualTau usual_tau() const = 0;
  /// Adds what the features are to an output's `info`.
  virtual void describe(nlohmann::ordered_json& info) const = 0;
  /// Adds the patch to the info of files of features, for those who read them.
  void record_patch(nlohmann::ordered_json& info) const;
};

/// The options that choose the features.
struct FeatureOptions {
  std::string weights, entry, backbone, kind, from_features;  // kind: "k", or several: "k,out"; "": the backbone's own
  std::string normalisation = "auto";
  std::vector<std::int64_t> layers{-1};  // of each kind
  std::int64_t size = 480, patch = 8;
  bool native_aspect = false;
  // No options, the verb decides:
  Framing framing = Framing::kFrame;
  maskcut::ShortSide short_side = {};  // of Framing::kShortSide
  bool attention = false;              // of the class token, too

  /// `files`: also from files made before. `size_help` and `least_size`: what the size means to the verb.
  void declare(Settings& settings, bool files = true,
               const std::string& size_help = "Side of the square that pictures are resized to", double least_size = 8);
  /// Loads what is needed and settles `backbone`, `kind` and `patch`. Throws Error(kUsage) naming the remedies if
  /// nothing is chosen, two choices contradict each other, or the backbone has no such features.
  std::unique_ptr<FeatureSource> open(const Run& run);
  /// Writes the kind that was settled into the settings of an output's `info`.
  void record(nlohmann::ordered_json& info) const;
  /// The pixels that the patch grid of a picture of that size stands for, once it is opened: its own size where it is
  /// padded, what it is resized to by its short side (of features from files without whole patches), else whole
  /// patches.
  Size picture_size(const Size& picture) const;
  /// Whether pictures stay as large as they are (but for whole patches).
  bool keeps_sizes() const;
  /// SHA-256 of the weights, "" without. open() begins with it, on a thread; this waits until it is known. Throws
  /// Error(kIo) if they could not be read.
  std::string weights_sha256() const { return weights_sha256_.valid() ? weights_sha256_.get() : ""; }
  /// Writes it into an output's `info`, where make_info() left a null.
  void record_weights(nlohmann::ordered_json& info) const;

  // Settled by open().
  bool whole_patches = true;  // what the network sees has sides of whole patches

 private:
  std::shared_future<std::string> weights_sha256_;
};

}  // namespace usol
