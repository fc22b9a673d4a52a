#include "usol/models/solov2/freesolo_losses.h"

#include <algorithm>

#include "usol/models/solov2/losses.h"
#include "usol/ops/compare.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/gather.h"
#include "usol/ops/rank_values.h"
#include "usol/ops/reduce.h"

namespace usol::solov2 {
namespace {

// 1 inside the box that a mask's projections span.
Tensor spanned(const Tensor& wanted) { return mul(amax(wanted, {1}, true), amax(wanted, {2}, true)); }

struct MaskLosses {
  Tensor largest, average, pairwise;  // sums over levels; undefined for none
};

// Adds a level's losses, each divided by what all ranks have of it.
void add_level(MaskLosses& losses, const Tensor& logits, const LevelTargets& targets, const AllPairs& pairs,
               double all_rows, Communicator* ranks) {
  double weight = 0;
  Tensor pairwise;
  if (logits.defined()) {
    const Tensor wanted = index_select(targets.masks, targets.mask_of).to(DType::kF32);
    add_to(losses.largest, affine(maxima_loss(logits, wanted), 1 / all_rows));
    add_to(losses.average, affine(means_loss(logits, wanted), 1 / all_rows));
    const PairSums sums = pairwise_sums(logits, spanned(wanted), targets, pairs);
    pairwise = sums.loss;
    weight = sums.weight;
  }
  const double all_weight = std::max(1.0, sum_over_ranks(weight, ranks));
  if (pairwise.defined()) add_to(losses.pairwise, affine(pairwise, 1 / all_weight));
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
    add_to(loss, sum(affine(sum(mul(predicted, wanted), {1}), -1, 1)));
    count += static_cast<double>(rows.numel());
  }
  return loss;
}

}  // namespace

detection::Losses freesolo_losses(const LossInputs& inputs, const Config& config, Communicator* ranks) {
  const std::vector<Cells>& cells = inputs.cells;
  const std::vector<LevelTargets>& targets = inputs.targets;
  const LossOptions& options = config.losses;
  const AllPairs pairs = pairs_of(inputs, options);
  MaskLosses masks;
  double levels = 0;  // that have objects on any rank
  for (std::size_t l = 0; l < cells.size(); ++l) {
    const double rows = sum_over_ranks(static_cast<double>(targets[l].size()), ranks);
    if (rows == 0) continue;
    ++levels;
    add_level(masks, mask_logits(cells[l].kernels, inputs.features, targets[l]), targets[l], pairs, rows, ranks);
  }
  double with_embedding = 0;
  const Tensor of_embeddings = options.embedding_weight > 0 ? embedding_loss(cells, targets, with_embedding) : Tensor();
  with_embedding = std::max(1.0, sum_over_ranks(with_embedding, ranks));
  const Tensor nothing = nothing_to_learn(inputs.features, cells);
  const auto weighed = [&](const Tensor& loss, double weight) {
    return loss.defined() ? add(nothing, affine(loss, weight)) : nothing;
  };
  const double share = 1 / std::max(1.0, levels);
  const double of_pairs = options.pairwise_weight * grown(inputs.step, options.pairwise_warmup);
  return {{"loss_ins_max", weighed(masks.largest, options.projection_max_weight * share)},
          {"loss_ins", weighed(masks.average, options.projection_mean_weight * share)},
          {"loss_pairwise", weighed(masks.pairwise, of_pairs * share)},
          {"loss_emb", weighed(of_embeddings, options.embedding_weight / with_embedding)},
          {"loss_cate", category_loss(cells, targets, config, ranks)}};
}

}  // namespace usol::solov2
