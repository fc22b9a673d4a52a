#pragma once
// Drop path ("stochastic depth"): in training a residual branch is left out, for each picture by chance.
// Source: Huang et al. 2016, "Deep Networks with Stochastic Depth"; as timm's DropPath.

#include <cstdint>
#include <vector>

#include "nn/context.h"
#include "ops/elementwise.h"
#include "tensor/check.h"

namespace usol::nn {

/// branch [N, ...]: each of the N entries becomes 0 with probability `rate` and is divided by 1 - rate otherwise;
/// itself outside training or for rate 0. Draws N numbers from context.rng. Gradient to branch. Throws Error without a
/// generator where it must draw.
inline Tensor drop_path(const Tensor& branch, double rate, const Context& context) {
  if (!context.training || rate <= 0) return branch;
  check(context.rng != nullptr && rate < 1, "drop_path: expected a generator and a rate below 1, got {} and {}",
        context.rng ? "one" : "none", rate);
  std::vector<float> factors;
  for (std::int64_t n = 0; n < branch.size(0); ++n)
    factors.push_back(context.rng->uniform(0, 1) < rate ? 0.0f : static_cast<float>(1 / (1 - rate)));
  std::vector<std::int64_t> shape(static_cast<std::size_t>(branch.rank()), 1);
  shape[0] = branch.size(0);
  return mul(branch, Tensor::from(factors, Shape(shape)).to(branch.dtype()).to(branch.device()));
}

}  // namespace usol::nn
