#pragma once
// MaskCut on pictures in memory, for programs that embed the library: a backbone and the cuts in one object.
// (pipeline/maskcut_job.h does the same to files, with a journal.)

#include <memory>
#include <string>

#include "usol/maskcut/maskcut.h"
#include "usol/pipeline/feature_source.h"
#include "usol/pipeline/run.h"
#include "usol/tensor/tensor.h"

namespace usol {

class MaskCut {
 public:
  /// On the keys of the backbone in a weights file (DINO's, DINOv2's; docs/weights.md), on run.device. `options.patch`
  /// is read off the weights. Throws Error if the file is none of these.
  static MaskCut open(const std::string& weights, const maskcut::MaskCutOptions& options = {}, const Run& run = {});
  /// Without weights, by classical means (docs/without_weights.md): contrast with the picture's border, in patches of
  /// options.patch px.
  static MaskCut by_contrast(const maskcut::MaskCutOptions& options = {});
  /// Without weights: the plain normalized cut on local colour, texture and position.
  static MaskCut by_colour(const maskcut::MaskCutOptions& options = {});

  /// The pseudo-masks of a picture u8 [H, W, 3], as `usol maskcut` makes them. Throws Error on other inputs.
  maskcut::MaskCutResult masks(const Tensor& image) const;
  /// The features that they come from: f32 [D, h, w] on the CPU.
  Tensor features(const Tensor& image) const;
  const maskcut::MaskCutOptions& options() const { return options_; }

 private:
  MaskCut(FeatureOptions features, const maskcut::MaskCutOptions& options, const Run& run);

  std::shared_ptr<const FeatureSource> source_;
  maskcut::MaskCutOptions options_;
};

}  // namespace usol
