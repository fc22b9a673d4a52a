#pragma once
// The supervised losses of SOLOv2, and what FreeSOLO's share with them: predicted masks, the dice loss, the focal loss.
// Values are a rank's share: they add up to those of the whole batch.
// Source: Wang et al. 2020, section 3.2; Milletari et al. 2016 (dice); Lin et al. 2017, "Focal Loss".

#include <vector>

#include "usol/models/detector.h"
#include "usol/models/solov2/config.h"
#include "usol/models/solov2/ins_head.h"
#include "usol/models/solov2/targets.h"

namespace usol::solov2 {

/// The logits f32 [R, h, w] of a level's masks, one a row of its targets: each cell's kernel (a 1 x 1 convolution
/// without bias) times the mask features [N, C, h, w] of its picture. Undefined for no rows.
Tensor mask_logits(const Tensor& kernels, const Tensor& features, const LevelTargets& targets);

/// Logits or embeddings [N, C, S, S] as rows f32 [N S S, C].
Tensor cell_rows(const Tensor& map);

/// 1 - 2 sum(x y) / (sum x^2 + sum y^2 + epsilon) of each row: x and y [R, ...] of one shape and dtype -> [R].
Tensor dice_loss(const Tensor& x, const Tensor& y, double epsilon);

/// The focal loss of all cells' categories against one class or none each, summed and divided by one more than the
/// cells that have a class (of all ranks).
Tensor category_loss(const std::vector<Cells>& cells, const std::vector<LevelTargets>& targets, const Config& config,
                     Communicator* ranks);

/// "loss_ins" (dice over whole masks, the mean over all rows of all levels) and "loss_cate".
detection::Losses supervised_losses(const std::vector<Cells>& cells, const Tensor& features,
                                    const std::vector<LevelTargets>& targets, const Config& config,
                                    Communicator* ranks);

/// A zero that gradients flow through, so that every parameter has one where nothing is to be learned.
Tensor nothing_to_learn(const Tensor& features, const std::vector<Cells>& cells);

}  // namespace usol::solov2
