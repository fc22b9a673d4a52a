#include "usol/models/solov2/ins_head.h"

#include <cmath>

#include "usol/models/solov2/levels.h"
#include "usol/ops/concat.h"
#include "usol/ops/interpolate.h"
#include "usol/tensor/check.h"

namespace usol::solov2 {
namespace {

constexpr double kPrior = 0.01;  // the probability of a class that a fresh network says of every cell

// A convolution whose weights start as those of the towers and whose biases start at `bias`.
nn::Conv2d predictor(const Scope& scope, std::int64_t in, std::int64_t out, double bias = 0) {
  nn::Conv2d conv(scope, in, out, 3, {.padding = 1, .bias = false, .init = conv_start()});
  conv.bias = scope.parameter("bias", {out}, init::constant(static_cast<float>(bias)));
  return conv;
}

}  // namespace

InsHead::InsHead(const Scope& scope, const Config& c)
    : cate_tower_(scope / "cate_tower", c.channels, c.instance_channels, c.instance_convolutions, c.norm_groups),
      kernel_tower_(scope / "kernel_tower", c.channels + 2, c.instance_channels, c.instance_convolutions,
                    c.norm_groups),
      cate_pred_(predictor(scope / "cate_pred", c.instance_channels, c.outputs(), -std::log((1 - kPrior) / kPrior))),
      kernel_pred_(predictor(scope / "kernel_pred", c.instance_channels, c.kernel_channels)) {
  for (const Level& level : c.levels) grids_.push_back(level.grid);
  if (c.embedding > 0) emb_pred_.emplace(predictor(scope / "emb_pred", c.instance_channels, c.embedding));
}

std::vector<Cells> InsHead::operator()(const std::vector<Tensor>& levels, const Context& context) const {
  check(levels.size() == grids_.size(), "solov2: expected {} levels, got {}", grids_.size(), levels.size());
  std::vector<Cells> out;
  for (std::size_t i = 0; i < levels.size(); ++i) {
    const Tensor map = interpolate(levels[i], grids_[i], grids_[i]);
    const Tensor place = interpolate(coordinates(levels[i]), grids_[i], grids_[i]);
    const Tensor kernels = kernel_tower_(concat({map, place}, 1), context), categories = cate_tower_(map, context);
    out.push_back({cate_pred_(categories, context), kernel_pred_(kernels, context),
                   emb_pred_ ? (*emb_pred_)(categories, context) : Tensor()});
  }
  return out;
}

}  // namespace usol::solov2
