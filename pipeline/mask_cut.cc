#include "usol/pipeline/mask_cut.h"

#include <utility>

#include "usol/tensor/check.h"

namespace usol {

MaskCut::MaskCut(FeatureOptions features, const maskcut::MaskCutOptions& options, const Run& run) : options_(options) {
  features.size = options.size;
  features.patch = options.patch;
  features.native_aspect = options.native_aspect;
  source_ = features.open(run);
  options_.patch = source_->patch();
}

MaskCut MaskCut::open(const std::string& weights, const maskcut::MaskCutOptions& options, const Run& run) {
  FeatureOptions features;
  features.weights = weights;
  return {std::move(features), options, run};
}

MaskCut MaskCut::by_contrast(const maskcut::MaskCutOptions& options) {
  FeatureOptions features;
  features.backbone = "contrast";
  return {std::move(features), options, {}};
}

MaskCut MaskCut::by_colour(const maskcut::MaskCutOptions& options) {
  FeatureOptions features;
  features.backbone = "colour";
  return {std::move(features), options, {}};
}

Tensor MaskCut::features(const Tensor& image) const {
  check(image.defined() && image.dtype() == DType::kU8 && image.rank() == 3 && image.size(2) == 3,
        "maskcut: expected a picture u8 [H, W, 3]");
  return source_->features(source_->prepare({}, image)).to(Device::cpu());
}

maskcut::MaskCutResult MaskCut::masks(const Tensor& image) const {
  return maskcut::maskcut(features(image), image, options_);
}

}  // namespace usol
