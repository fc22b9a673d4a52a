#include "usol/models/solov2/freesolo_losses.h"

#include <algorithm>
#include <array>

#include "usol/models/solov2/colour_pairs.h"
#include "usol/models/solov2/losses.h"
#include "usol/ops/binary_cross_entropy.h"
#include "usol/ops/compare.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/gather.h"
#include "usol/ops/rank_values.h"
#include "usol/ops/reduce.h"
#include "usol/ops/view.h"

namespace usol::solov2 {
namespace {

constexpr double kDiceEpsilon = 1e-5;

using AllPairs = std::array<ColourPairs, kPairDirections.size()>;

// log(1 + exp(x)): the cross-entropy of an answer that should be no.
Tensor softplus(const Tensor& x) {
  return binary_cross_entropy_with_logits(x, Tensor::zeros({}, x.dtype(), x.device()));
}

// The dice loss of both projections, summed over rows; `project` goes over one dimension.
template <class Project>
Tensor projection_loss(const Project& of_prediction, const Project& of_target, const Tensor& logits,
                       const Tensor& wanted) {
  Tensor loss;
  for (const int over : {1, 2}) {
    const Tensor one = sum(dice_loss(of_prediction(logits, over), of_target(wanted, over), kDiceEpsilon));
    loss = loss.defined() ? add(loss, one) : one;
  }
  return loss;
}

// The maximum of a sigmoid is that of its argument.
Tensor largest(const Tensor& logits, int over) { return sigmoid(amax(logits, {over})); }
Tensor largest_wanted(const Tensor& wanted, int over) { return amax(wanted, {over}); }
Tensor average(const Tensor& logits, int over) { return mean(sigmoid(logits), {over}); }
Tensor average_wanted(const Tensor& wanted, int over) { return mean(wanted, {over}); }

// The first cells of a direction's pairs in maps [R, h, w], or the second ones.
Tensor of_pairs(const Tensor& maps, const PairDirection& d, bool second) {
  const std::int64_t h = maps.size(1), w = maps.size(2), across = d.dx < 0 ? -d.dx : d.dx;
  const std::int64_t y = second ? d.dy : 0,
                     x = second ? std::max<std::int64_t>(0, d.dx) : std::max<std::int64_t>(0, -d.dx);
  return slice(slice(maps, 1, y, y + h - d.dy), 2, x, x + w - across);
}

struct PairSums {
  Tensor loss;  // weighted, with a gradient
  double weight = 0;
};

// -log of the probability that both cells of a pair are alike: with p = sigmoid(x), p p' + (1 - p)(1 - p') is
// (1 + exp(x + x')) / ((1 + exp x)(1 + exp x')).
PairSums pairwise_sums(const Tensor& logits, const Tensor& boxes, const Tensor& picture_of, const AllPairs& pairs) {
  const Tensor alone = softplus(logits);
  PairSums sums;
  for (std::size_t d = 0; d < kPairDirections.size(); ++d) {
    const PairDirection& direction = kPairDirections[d];
    if (pairs[d].from_first.numel() == 0) continue;
    const auto first = [&](const Tensor& maps) { return of_pairs(maps, direction, false); };
    const auto second = [&](const Tensor& maps) { return of_pairs(maps, direction, true); };
    const Tensor weight = add(mul(index_select(pairs[d].from_first, picture_of), first(boxes)),
                              mul(index_select(pairs[d].from_second, picture_of), second(boxes)));
    const Tensor together = softplus(add(first(logits), second(logits)));
    const Tensor loss = sum(mul(sub(add(first(alone), second(alone)), together), weight));
    sums.loss = sums.loss.defined() ? add(sums.loss, loss) : loss;
    sums.weight += sum(weight).item();
  }
  return sums;
}

// 1 inside the box that a mask's projections span.
Tensor spanned(const Tensor& wanted) { return mul(amax(wanted, {1}, true), amax(wanted, {2}, true)); }

Tensor pictures_of_rows(const LevelTargets& targets, const Device& device) {
  std::vector<std::int64_t> of;
  for (std::size_t i = 0; i < targets.rows.size(); ++i)
    of.insert(of.end(), static_cast<std::size_t>(targets.rows[i]), static_cast<std::int64_t>(i));
  return Tensor::from(of, {static_cast<std::int64_t>(of.size())}).to(device);
}

struct MaskLosses {
  Tensor largest, average, pairwise;  // sums over levels; undefined for none

  static void add_to(Tensor& sum, const Tensor& value) { sum = sum.defined() ? add(sum, value) : value; }
};

// Adds a level's losses, each divided by what all ranks have of it.
void add_level(MaskLosses& losses, const Tensor& logits, const LevelTargets& targets, const AllPairs& pairs,
               double all_rows, Communicator* ranks) {
  double weight = 0;
  Tensor pairwise;
  if (logits.defined()) {
    const Tensor wanted = index_select(targets.masks, targets.mask_of).to(DType::kF32);
    MaskLosses::add_to(losses.largest, affine(projection_loss(largest, largest_wanted, logits, wanted), 1 / all_rows));
    MaskLosses::add_to(losses.average, affine(projection_loss(average, average_wanted, logits, wanted), 1 / all_rows));
    const PairSums sums = pairwise_sums(logits, spanned(wanted), pictures_of_rows(targets, logits.device()), pairs);
    pairwise = sums.loss;
    weight = sums.weight;
  }
  const double all_weight = std::max(1.0, sum_over_ranks(weight, ranks));
  if (pairwise.defined()) MaskLosses::add_to(losses.pairwise, affine(pairwise, 1 / all_weight));
}

Tensor normalized(const Tensor& rows) { return div(rows, sqrt(sum(mul(rows, rows), {1}, true))); }

// 1 - cosine at the cells that have a class and an embedding, summed; nothing without any. `count` receives how many.
Tensor embedding_loss(const std::vector<Cells>& cells, const std::vector<LevelTargets>& targets, double& count) {
  Tensor loss;
  for (std::size_t l = 0; l < cells.size(); ++l) {
    if (!targets[l].embeddings.defined() || targets[l].size() == 0) continue;
    const Tensor rows = nonzero(greater(amax(abs(targets[l].embeddings), {1}), 0));
    if (rows.numel() == 0) continue;
    const Tensor predicted = normalized(index_select(cell_rows(cells[l].embeddings), rows));
    const Tensor wanted = normalized(index_select(targets[l].embeddings, rows));
    const Tensor one = sum(affine(sum(mul(predicted, wanted), {1}), -1, 1));
    loss = loss.defined() ? add(loss, one) : one;
    count += static_cast<double>(rows.numel());
  }
  return loss;
}

}  // namespace

detection::Losses freesolo_losses(const std::vector<Cells>& cells, const Tensor& features,
                                  const std::vector<LevelTargets>& targets, const std::vector<Tensor>& pictures,
                                  const std::vector<detection::Truths>& truths, std::int64_t step, const Config& config,
                                  Communicator* ranks) {
  const LossOptions& options = config.losses;
  std::vector<std::int64_t> file_heights;
  for (const detection::Truths& truth : truths) file_heights.push_back(truth.file_height);
  const AllPairs pairs = colour_pairs(pictures, file_heights, {features.size(2), features.size(3)}, options.alike,
                                      options.bottom_px, features.device());
  MaskLosses masks;
  double levels = 0;  // that have objects on any rank
  for (std::size_t l = 0; l < cells.size(); ++l) {
    const double rows = sum_over_ranks(static_cast<double>(targets[l].size()), ranks);
    if (rows == 0) continue;
    ++levels;
    add_level(masks, mask_logits(cells[l].kernels, features, targets[l]), targets[l], pairs, rows, ranks);
  }
  const double grown =
      options.pairwise_warmup == 0
          ? 1
          : std::min(1.0, static_cast<double>(step + 1) / static_cast<double>(options.pairwise_warmup));
  double with_embedding = 0;
  const Tensor of_embeddings = options.embedding_weight > 0 ? embedding_loss(cells, targets, with_embedding) : Tensor();
  with_embedding = std::max(1.0, sum_over_ranks(with_embedding, ranks));
  const Tensor nothing = nothing_to_learn(features, cells);
  const auto weighed = [&](const Tensor& loss, double weight) {
    return loss.defined() ? add(nothing, affine(loss, weight)) : nothing;
  };
  const double share = 1 / std::max(1.0, levels);
  return {{"loss_ins_max", weighed(masks.largest, options.projection_max_weight * share)},
          {"loss_ins", weighed(masks.average, options.projection_mean_weight * share)},
          {"loss_pairwise", weighed(masks.pairwise, options.pairwise_weight * grown * share)},
          {"loss_emb", weighed(of_embeddings, options.embedding_weight / with_embedding)},
          {"loss_cate", category_loss(cells, targets, config, ranks)}};
}

}  // namespace usol::solov2
