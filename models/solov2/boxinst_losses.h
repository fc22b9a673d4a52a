#pragma once
// BoxInst's losses: masks are learned from boxes alone. A mask's projections on the axes are to be the box's, and
// neighbours of one colour belong to it together or not at all; so it ends where the colours change.
// Source: Tian et al. 2021, "BoxInst: High-Performance Instance Segmentation with Box Annotations", section 3;
// AdelaiDet's DynamicMaskHead, which has them for the masks of CondInst.

#include "usol/models/detector.h"
#include "usol/models/solov2/config.h"
#include "usol/models/solov2/mask_terms.h"
#include "usol/ops/all_reduce.h"

namespace usol::solov2 {

/// "loss_prj" (dice of the masks' maxima over rows and over columns, the mean over the rows of all levels),
/// "loss_pairwise" (neighbours of one colour, one of them in the box, agree: the mean over all such pairs; grows over
/// the first steps) and "loss_cate". The targets' masks are boxes (make_targets()). Values are a rank's share, as in
/// losses.h.
detection::Losses boxinst_losses(const LossInputs& inputs, const Config& config, Communicator* ranks);

}  // namespace usol::solov2
