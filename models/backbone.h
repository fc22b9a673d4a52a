#pragma once
// What a detector asks of a backbone: an image batch becomes named feature maps. Which backbone it is, a checkpoint or
// the settings of a training decide: each kind registers itself and recognises its own weights.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "usol/models/describe.h"
#include "usol/models/registry.h"
#include "usol/nn/context.h"
#include "usol/nn/param_store.h"
#include "usol/tensor/settings.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// One feature map of a backbone.
struct FeatureSpec {
  std::string name;
  std::int64_t channels = 0;
  std::int64_t stride_px = 0;  // image pixels per feature pixel
};

class Backbone {
 public:
  virtual ~Backbone() = default;
  /// What forward() returns, in its order: high resolution first.
  virtual const std::vector<FeatureSpec>& outputs() const = 0;
  /// images [N, 3, H, W], normalised, H and W multiples of size_divisibility_px() -> maps [N, channels, H / stride,
  /// W / stride], channels last in memory. Throws Error on other shapes.
  virtual std::vector<Tensor> forward(const Tensor& images, const Context& context) const = 0;
  virtual std::int64_t size_divisibility_px() const = 0;
  /// Side of the square that pictures are padded to at least, and that a detector is made for; 0: any size.
  virtual std::int64_t square_px() const { return 0; }
  /// What a detector's name says of it ("ViTDet"); empty for a ResNet with a feature pyramid, the usual one.
  virtual std::string name() const { return {}; }
};

/// Makes a backbone whose parameters come from the scope.
using MakeBackbone = std::function<std::unique_ptr<Backbone>(const Scope& scope)>;

/// The settings by which a training makes a backbone of one kind. Plain values: a copy is independent.
class BackboneSettings {
 public:
  virtual ~BackboneSettings() = default;
  virtual void declare(Settings& settings) = 0;
  /// A backbone whose maps have so many channels. Throws Error(kUsage) on values that do not fit together.
  virtual MakeBackbone make(std::int64_t channels) const = 0;
  /// Whether its maps are p2 ... p6, strides 4 ... 64.
  virtual bool makes_pyramid() const { return true; }
  virtual std::unique_ptr<BackboneSettings> clone() const = 0;
};

/// One kind of a detector's backbone, registered as Registry<BackboneKind>::Add.
struct BackboneKind {
  std::string name;  // "vitdet"
  /// Reads the sizes off the names and shapes behind `prefix` ("backbone."); empty if they are none of this kind.
  MakeBackbone (*recognise)(const StateDict& state, const std::string& prefix);
  /// What the description of a detector says of its backbone, even if some tensors are missing: a word in the place of
  /// the architecture, and facts. Nothing if what lies behind `prefix` is not of this kind.
  std::optional<Description> (*describe)(const StateDict& state, const std::string& prefix);
  /// The part of it that is usually trained by itself before, as a prefix: "net." for the ViT of a ViTDet.
  std::string bottom;
  /// The settings of a training with it, with their defaults; null for a kind that is not trained.
  std::unique_ptr<BackboneSettings> (*settings)() = nullptr;
  /// Where else in a detector parts of that network lie: "roi_heads." for the res5 of a C4. Empty: nowhere.
  std::string elsewhere = {};
};

/// The backbone behind `prefix`; empty if no kind recognises it.
MakeBackbone recognise_backbone(const StateDict& state, const std::string& prefix);

}  // namespace usol
