#pragma once
// FreeSOLO's losses: coarse masks say where an object is by their projections on the axes, colours say where it ends,
// embeddings what it looks like. Values are a rank's share, as in losses.h.
// Source: Wang et al. 2022, "FreeSOLO", sections 3.3 and 3.4; the release's PseudoSOLOv2.

#include "usol/models/detector.h"
#include "usol/models/solov2/config.h"
#include "usol/models/solov2/mask_terms.h"
#include "usol/ops/all_reduce.h"

namespace usol::solov2 {

/// "loss_ins_max" and "loss_ins" (dice of the masks' maxima and means over rows and over columns), "loss_pairwise"
/// (neighbours of one colour inside the object's box agree; grows over the first steps), "loss_emb" (1 - cosine with
/// the object's embedding) and "loss_cate". Masks' losses are means over the levels that have objects. Without
/// embeddings among the truths "loss_emb" is 0.
detection::Losses freesolo_losses(const LossInputs& inputs, const Config& config, Communicator* ranks);

}  // namespace usol::solov2
