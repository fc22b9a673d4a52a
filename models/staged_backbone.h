#pragma once
// A convolutional network as a patch backbone: its layers are stages, the first of which has cells of 4 x 4 pixels and
// each other half as many a side as the one before. A stage has one feature, what it puts out.

#include <cstdint>

#include "usol/models/patch_backbone.h"

namespace usol {

class StagedBackbone : public PatchBackbone {
 public:
  std::int64_t patch_px() const override { return layer_patch_px(layers() - 1); }
  std::int64_t layer_patch_px(std::int64_t layer) const override { return std::int64_t{4} << layer; }
  bool has(FeatureKind kind) const override { return kind == FeatureKind::kOut; }
  FeatureKind usual_kind() const override { return FeatureKind::kOut; }
  bool has_attention() const override { return false; }
  Tensor position(std::int64_t, std::int64_t) const override { return {}; }
};

}  // namespace usol
