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
#include <vector>

#include "usol/models/describe.h"
#include "usol/models/registry.h"
#include "usol/nn/param_store.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// What of a layer is the feature: a projection of a transformer's block, or what the layer puts out (tokens after the
/// network's last norm, a convolutional network's map).
enum class FeatureKind { kQ, kK, kV, kKqv, kOut };
/// "q", "k", "v", "kqv", "out". Throws Error(kUsage) otherwise.
FeatureKind parse_feature_kind(std::string_view text);
std::string_view name_of(FeatureKind kind);

/// One part of a patch's feature: what of which layer. Layers count from 0, or from the last one back (-1).
struct FeaturePart {
  FeatureKind kind = FeatureKind::kK;
  std::int64_t layer = -1;
  bool operator==(const FeaturePart&) const = default;
};
using FeatureParts = std::vector<FeaturePart>;

/// What a network knows of the patches.
struct PatchMaps {
  Tensor features;   // f32 [N, D, h, w], see PatchBackbone::maps()
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
  /// Which networks it is one of: "DINO", say. What is known of thresholds goes by it (maskcut/usual_tau.h).
  virtual std::string family() const { return name(); }
  /// Side of a patch in the last layer, and in layer 0 ... layers() - 1.
  virtual std::int64_t patch_px() const = 0;
  virtual std::int64_t layer_patch_px(std::int64_t) const { return patch_px(); }
  /// Blocks or stages that have features.
  virtual std::int64_t layers() const = 0;
  virtual Normalisation normalisation() const { return {}; }
  /// Whether there are features of this kind, and which is taken where none is named.
  virtual bool has(FeatureKind) const { return true; }
  virtual FeatureKind usual_kind() const { return FeatureKind::kK; }
  virtual bool has_attention() const { return true; }
  /// Whether pictures may have any size: then a map has as many patches as cover the picture.
  virtual bool takes_any_size() const { return false; }
  virtual bool has_class_token() const { return false; }
  /// What maps() needs and what depends only on the weights and the grid of h x w patches (positions). Callers who
  /// look at many pictures of one size make it once. Undefined if there is no such thing.
  virtual Tensor position(std::int64_t h, std::int64_t w) const = 0;

  /// Side of the patches of maps(): the smallest of the parts'. Throws Error as resolved().
  std::int64_t parts_patch_px(const FeatureParts& parts) const;
  /// The parts with their layers counted from 0. Throws Error(kUsage) if there are none, for a kind or a layer that the
  /// network has not, and for two equal ones.
  FeatureParts resolved(FeatureParts parts) const;

  /// Patch features: images [N, 3, H, W] normalised, H and W multiples of the patch (but where takes_any_size(): h and
  /// w are rounded up) -> [N, D, h, w] f32. The feature of
  /// one part is as the network has it, D its width (three times that for kKqv: k, q, v in this order). Several are
  /// brought to the finest grid among them (bilinear), each scaled to unit length in every patch, and concatenated: the
  /// cosine of two features is the mean of the parts' cosines. `attention`: also that of the class token, in the
  /// last of the parts' blocks. `at` is position(h, w) where the caller has made it before. Throws Error on other
  /// images, as resolved(), and where there is no attention.
  PatchMaps maps(const Tensor& images, const FeatureParts& parts, bool attention = false, const Tensor& at = {}) const;
  /// The features of one part.
  Tensor features(const Tensor& images, FeatureKind kind = FeatureKind::kK, std::int64_t layer = -1,
                  const Tensor& at = {}) const {
    return maps(images, {{kind, layer}}, false, at).features;
  }
  PatchMaps features_and_attention(const Tensor& images, FeatureKind kind = FeatureKind::kK,
                                   std::int64_t layer = -1) const {
    return maps(images, {{kind, layer}}, true);
  }

  /// The class token after the network's last norm, one vector for a whole picture: images as for maps() -> f32 [N, D].
  /// Throws Error on other images, and Error(kUsage) for a network without one.
  Tensor class_tokens(const Tensor& images) const;

 protected:
  /// What class_tokens() gives, of images that have a fitting shape; called where has_class_token().
  virtual Tensor tokens_of_class(const Tensor& images) const;
  /// The map of each part, f32 [N, D, h, w] with patches of layer_patch_px(); the attention, if it is wanted.
  struct PartMaps {
    std::vector<Tensor> parts;
    Tensor attention;
  };
  /// What maps() puts together. `parts` are resolved(), and the images have a fitting shape.
  virtual PartMaps part_maps(const Tensor& images, const FeatureParts& parts, bool attention,
                             const Tensor& at) const = 0;
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

/// Of a detector the network that its backbone is built on, under the names of one by itself, sharing the tensors:
/// what lies behind "backbone.bottom_up.", say. Nothing for tensors that are a patch backbone as they are, that are no
/// detector, or whose backbone is none by itself (a ViTDet's positions are relative, C4's last stage is in the heads).
std::optional<StateDict> backbone_of_detector(const StateDict& state);

/// The backbone that the tensors are, sharing them, for inference; `what` names the file in errors. Throws
/// Error(kFormat) if no kind recognises them, or listing the keys that do not fit.
std::unique_ptr<PatchBackbone> load_patch_backbone(StateDict state, std::string_view what, Device device = {},
                                                   DType dtype = DType::kF32);

}  // namespace usol
