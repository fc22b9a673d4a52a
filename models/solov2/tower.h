#pragma once
// A convolution of 3 x 3 or 1 x 1 without bias, a group norm and a ReLU: what both of SOLOv2's heads are made of, under
// the names of a torch.nn.Sequential ("0.weight"; "1.weight", "1.bias").

#include <cstdint>
#include <utility>
#include <vector>

#include "usol/nn/conv.h"
#include "usol/nn/norm.h"
#include "usol/ops/elementwise.h"

namespace usol::solov2 {

/// SOLOv2's start of every convolution.
inline Initializer conv_start() { return init::normal(0.01f); }

class NormedConv {
 public:
  /// Parameters under scope / `first` and scope / `first` + 1. Throws Error unless `groups` divides `out`.
  NormedConv(const Scope& scope, std::int64_t first, std::int64_t in, std::int64_t out, std::int64_t kernel,
             std::int64_t groups)
      : conv_(scope / first, in, out, kernel, {.padding = kernel / 2, .bias = false, .init = conv_start()}),
        norm_(scope / (first + 1), out, groups) {}
  /// x [N, in, H, W] -> [N, out, H, W].
  Tensor operator()(const Tensor& x, const Context& context) const { return relu(norm_(conv_(x, context))); }

 private:
  nn::Conv2d conv_;
  nn::GroupNorm norm_;
};

/// Several, one after the other, numbered as one Sequential: 0 and 1, 3 and 4, ...
class Tower {
 public:
  Tower(const Scope& scope, std::int64_t in, std::int64_t channels, std::int64_t convolutions, std::int64_t groups) {
    for (std::int64_t i = 0; i < convolutions; ++i)
      layers_.emplace_back(scope, 3 * i, i == 0 ? in : channels, channels, 3, groups);
  }
  Tensor operator()(Tensor x, const Context& context) const {
    for (const NormedConv& layer : layers_) x = layer(x, context);
    return x;
  }

 private:
  std::vector<NormedConv> layers_;
};

}  // namespace usol::solov2
