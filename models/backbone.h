#pragma once
// What a detector asks of a backbone: an image batch becomes named feature maps. Which backbone it is, is chosen at run
// time.

#include <cstdint>
#include <string>
#include <vector>

#include "usol/nn/context.h"
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
};

}  // namespace usol
