#pragma once
// What MaskCut and the methods beside it ask of a network: a picture becomes one feature per patch. Which network it
// is, the weights decide: each kind registers itself and recognises its own. Second arrow of the pipeline.

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "usol/models/describe.h"
#include "usol/models/registry.h"
#include "usol/nn/param_store.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// Which projection of a block is the feature.
enum class FeatureKind { kQ, kK, kV, kKqv };
/// Parses "q", "k", "v", "kqv". Throws Error(kUsage) otherwise.
FeatureKind parse_feature_kind(std::string_view text);

/// What a block knows of the patches.
struct PatchMaps {
  Tensor features;   // f32 [N, D, h, w], see PatchBackbone::features()
  Tensor attention;  // f32 [N, heads, h, w]: the class token's to each patch (the rest goes to itself and registers)
};

/// What a network's pictures were normalised by, per channel of values in 0 ... 1. The defaults are ImageNet's.
struct Normalisation {
  std::array<float, 3> mean{0.485f, 0.456f, 0.406f}, deviation{0.229f, 0.224f, 0.225f};

  bool operator==(const Normalisation&) const = default;
};
/// What DINOv3's models of satellite pictures (SAT-493M) were trained with.
inline constexpr Normalisation kSatelliteNormalisation{{0.430f, 0.411f, 0.296f}, {0.213f, 0.156f, 0.143f}};
/// A decoded image [H, W, 3] u8 of its final size -> [1, 3, H, W] f32: / 255, minus mean, / deviation, with the same
/// three roundings as torchvision's ToTensor and Normalize. Throws Error on other images.
Tensor normalised(const Tensor& image, const Normalisation& by = {});

class PatchBackbone {
 public:
  virtual ~PatchBackbone() = default;
  /// "ViT-S/16", say.
  virtual std::string name() const = 0;
  virtual std::int64_t patch_px() const = 0;
  /// Blocks that have features.
  virtual std::int64_t layers() const = 0;
  virtual Normalisation normalisation() const { return {}; }
  /// What features() needs and what depends only on the weights and the grid of h x w patches (positions). Callers who
  /// look at many pictures of one size make it once. Undefined if there is no such thing.
  virtual Tensor position(std::int64_t h, std::int64_t w) const = 0;

  /// Patch features: images [N, 3, H, W] normalised, H and W multiples of the patch -> [N, D, h, w] f32. `layer` counts
  /// blocks from 0, or from the last one back (-1). D is the width, three times that for kKqv (k, q, v in this order).
  /// `at` is position(h, w) where the caller has made it before. Throws Error on other images or layers.
  Tensor features(const Tensor& images, FeatureKind kind = FeatureKind::kK, std::int64_t layer = -1,
                  const Tensor& at = {}) const;
  /// The same features, and the attention that the class token pays to the patches in that block.
  PatchMaps features_and_attention(const Tensor& images, FeatureKind kind = FeatureKind::kK,
                                   std::int64_t layer = -1) const;

 protected:
  /// What the two above return; `layer` is in 0 ... layers() - 1, and the images have a fitting shape.
  virtual Tensor layer_features(const Tensor& images, FeatureKind kind, std::int64_t layer, const Tensor& at) const = 0;
  virtual PatchMaps layer_maps(const Tensor& images, FeatureKind kind, std::int64_t layer) const = 0;

 private:
  std::int64_t checked_layer(const Tensor& images, std::int64_t layer) const;
};

/// Makes a backbone whose parameters come from the scope.
using MakePatchBackbone = std::function<std::unique_ptr<PatchBackbone>(const Scope& scope)>;

/// One kind of patch backbone, registered as Registry<PatchBackboneKind>::Add.
struct PatchBackboneKind {
  std::string name;        // "vit"
  std::string recognised;  // by what, for errors: "a DINO, DINOv2 or DINOv3 vision transformer (no ...)"
  /// Reads the sizes off names and shapes; empty if the tensors are no backbone of this kind.
  MakePatchBackbone (*recognise)(const StateDict& state);
  /// Tensors of its files that are no parameters (a projection head).
  bool (*leave_out)(const std::string& name);
  /// Architecture and facts for `usol info`; nothing if the tensors are none of this kind.
  std::optional<Description> (*describe)(const StateDict& state);
};

/// The backbone that the tensors are, sharing them, for inference; `what` names the file in errors. Throws
/// Error(kFormat) if no kind recognises them, or listing the keys that do not fit.
std::unique_ptr<PatchBackbone> load_patch_backbone(StateDict state, std::string_view what, Device device = {},
                                                   DType dtype = DType::kF32);

}  // namespace usol
