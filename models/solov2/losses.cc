#include "usol/models/solov2/losses.h"

#include <algorithm>

#include "usol/ops/binary_cross_entropy.h"
#include "usol/ops/cast.h"
#include "usol/ops/compare.h"
#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/gather.h"
#include "usol/ops/matmul.h"
#include "usol/ops/rank_values.h"
#include "usol/ops/reduce.h"
#include "usol/ops/view.h"

namespace usol::solov2 {
namespace {

constexpr double kDiceEpsilon = 0.002;  // 0.001 beside each of the two squares

// [rows, classes] of 0 and 1; rows of no class are 0.
Tensor one_hot(const Tensor& classes, std::int64_t count) {
  const Tensor all = Tensor::arange(count, DType::kI64, classes.device()).unsqueeze(0);
  return equal(classes.unsqueeze(1), all).to(DType::kF32);
}

// Source: fvcore's sigmoid_focal_loss.
Tensor focal_loss(const Tensor& logits, const Tensor& targets, double alpha, double gamma) {
  const Tensor p = sigmoid(logits);
  const Tensor missed = add(mul(p, affine(targets, -1, 1)), mul(affine(p, -1, 1), targets));  // 1 - p of what is true
  const Tensor weight = affine(targets, 2 * alpha - 1, 1 - alpha);
  // x^2 by a product: of a power there is no op, and its logarithm would be infinite at 0.
  const Tensor modulation = gamma == 2 ? mul(missed, missed) : exp(affine(log(affine(missed, 1, 1e-12)), gamma));
  return mul(mul(binary_cross_entropy_with_logits(logits, targets), modulation), weight);
}

}  // namespace

Tensor cell_rows(const Tensor& map) {
  return cast(reshape(permute(map, {0, 2, 3, 1}), {map.size(0) * map.size(2) * map.size(3), map.size(1)}), DType::kF32);
}

Tensor mask_logits(const Tensor& kernels, const Tensor& features, const LevelTargets& targets) {
  if (targets.size() == 0) return {};
  const std::int64_t channels = features.size(1), h = features.size(2), w = features.size(3);
  const Tensor of_rows = index_select(cell_rows(kernels), targets.cell_of);
  std::vector<Tensor> masks;
  std::int64_t first = 0;
  for (std::size_t i = 0; i < targets.rows.size(); ++i) {
    const std::int64_t rows = targets.rows[i];
    if (rows == 0) continue;
    const Tensor map = select(features, 0, static_cast<std::int64_t>(i));  // channels last in memory
    const Tensor pixels = reshape(permute(map, {1, 2, 0}), {h * w, channels});
    const Tensor kernel = cast(slice(of_rows, 0, first, first + rows), features.dtype());
    masks.push_back(matmul(kernel, transpose(pixels, 0, 1)));
    first += rows;
  }
  return cast(reshape(concat(masks), {targets.size(), h, w}), DType::kF32);
}

Tensor dice_loss(const Tensor& x, const Tensor& y, double epsilon) {
  const auto row_sums = [](const Tensor& a) { return sum(reshape(a, {a.size(0), a.numel() / a.size(0)}), {1}); };
  const Tensor squares = add(row_sums(mul(x, x)), row_sums(mul(y, y)));
  return affine(div(row_sums(mul(x, y)), affine(squares, 1, epsilon)), -2, 1);
}

Tensor category_loss(const std::vector<Cells>& cells, const std::vector<LevelTargets>& targets, const Config& config,
                     Communicator* ranks) {
  std::vector<Tensor> logits, classes;
  for (std::size_t l = 0; l < cells.size(); ++l) {
    logits.push_back(cell_rows(cells[l].categories));
    classes.push_back(targets[l].classes);
  }
  const Tensor all = concat(classes);
  const double background = static_cast<double>(config.outputs());
  const double positive = sum(not_equal(all, background).to(DType::kF32)).item();
  const double share = config.losses.category_weight / (sum_over_ranks(positive, ranks) + 1);
  const Tensor loss =
      focal_loss(concat(logits), one_hot(all, config.outputs()), config.losses.alpha, config.losses.gamma);
  return affine(sum(loss), share);
}

Tensor nothing_to_learn(const Tensor& features, const std::vector<Cells>& cells) {
  Tensor total = affine(cast(sum(features), DType::kF32), 0);
  for (const Cells& level : cells) {
    total = add(total, affine(cast(sum(level.kernels), DType::kF32), 0));
    if (level.embeddings.defined()) total = add(total, affine(cast(sum(level.embeddings), DType::kF32), 0));
  }
  return total;
}

detection::Losses supervised_losses(const std::vector<Cells>& cells, const Tensor& features,
                                    const std::vector<LevelTargets>& targets, const Config& config,
                                    Communicator* ranks) {
  Tensor of_masks = nothing_to_learn(features, cells);
  std::int64_t rows = 0;
  for (std::size_t l = 0; l < cells.size(); ++l) {
    const Tensor logits = mask_logits(cells[l].kernels, features, targets[l]);
    if (!logits.defined()) continue;
    const Tensor wanted = index_select(targets[l].masks, targets[l].mask_of).to(DType::kF32);
    of_masks = add(of_masks, sum(dice_loss(sigmoid(logits), wanted, kDiceEpsilon)));
    rows += targets[l].size();
  }
  const double all_rows = std::max(1.0, sum_over_ranks(static_cast<double>(rows), ranks));
  return {{"loss_ins", affine(of_masks, config.losses.dice_weight / all_rows)},
          {"loss_cate", category_loss(cells, targets, config, ranks)}};
}

}  // namespace usol::solov2
