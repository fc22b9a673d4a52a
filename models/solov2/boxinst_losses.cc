#include "usol/models/solov2/boxinst_losses.h"

#include <algorithm>

#include "usol/models/solov2/losses.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/gather.h"
#include "usol/ops/rank_values.h"

namespace usol::solov2 {

detection::Losses boxinst_losses(const LossInputs& inputs, const Config& config, Communicator* ranks) {
  const LossOptions& options = config.losses;
  const AllPairs pairs = pairs_of(inputs, options);
  const Tensor nothing = nothing_to_learn(inputs.features, inputs.cells);
  Tensor projections = nothing, pairwise = nothing;
  double rows = 0, weight = 0;
  for (std::size_t l = 0; l < inputs.cells.size(); ++l) {
    const LevelTargets& targets = inputs.targets[l];
    const Tensor logits = mask_logits(inputs.cells[l].kernels, inputs.features, targets);
    if (!logits.defined()) continue;
    const Tensor boxes = index_select(targets.masks, targets.mask_of).to(DType::kF32);
    add_to(projections, maxima_loss(logits, boxes));
    const PairSums sums = pairwise_sums(logits, boxes, targets, pairs);
    if (sums.loss.defined()) add_to(pairwise, sums.loss);
    weight += sums.weight;
    rows += static_cast<double>(targets.size());
  }
  const double all_rows = std::max(1.0, sum_over_ranks(rows, ranks));
  const double all_weight = std::max(1.0, sum_over_ranks(weight, ranks));
  const double of_pairs = options.pairwise_weight * grown(inputs.step, options.pairwise_warmup);
  return {{"loss_prj", affine(projections, options.projection_max_weight / all_rows)},
          {"loss_pairwise", affine(pairwise, of_pairs / all_weight)},
          {"loss_cate", category_loss(inputs.cells, inputs.targets, config, ranks)}};
}

}  // namespace usol::solov2
