#pragma once
// Drop path ("stochastic depth"): in training a residual branch is left out, for each picture by chance.
// Source: Huang et al. 2016, "Deep Networks with Stochastic Depth"; as timm's DropPath.

#include <cstdint>
#include <vector>

#include "usol/nn/context.h"
#include "usol/ops/elementwise.h"
#include "usol/tensor/check.h"

namespace usol::nn {

/// The position of context.rng from which a pass begins to draw, if its first picture is number `first_picture` of the
/// whole batch. Each picture has a part of the stream to itself, so that ranks and passes draw what one process would.
inline std::uint64_t drop_path_start(std::int64_t first_picture) {
  return static_cast<std::uint64_t>(first_picture) << 32;
}

/// branch [N, ...]: each of the N entries becomes 0 with probability `rate` and is divided by 1 - rate otherwise;
/// itself outside training or for rate 0. Draws two words of each picture's part of context.rng. Gradient to branch.
/// Throws Error without a generator where it must draw.
inline Tensor drop_path(const Tensor& branch, double rate, const Context& context) {
  if (!context.training || rate <= 0) return branch;
  check(context.rng != nullptr && rate < 1, "drop_path: expected a generator and a rate below 1, got {} and {}",
        context.rng ? "one" : "none", rate);
  const std::uint64_t first = context.rng->reserve(2);
  Generator draws = *context.rng;
  std::vector<float> factors;
  for (std::int64_t n = 0; n < branch.size(0); ++n) {
    draws.set_position(first + drop_path_start(n));
    factors.push_back(draws.uniform(0, 1) < rate ? 0.0f : static_cast<float>(1 / (1 - rate)));
  }
  std::vector<std::int64_t> shape(static_cast<std::size_t>(branch.rank()), 1);
  shape[0] = branch.size(0);
  return mul(branch, Tensor::from(factors, Shape(shape)).to(branch.dtype()).to(branch.device()));
}

}  // namespace usol::nn
