#pragma once
// FreeSOLO's losses: coarse masks say where an object is by their projections on the axes, colours say where it ends,
// embeddings what it looks like. Values are a rank's share, as in losses.h.
// Source: Wang et al. 2022, "FreeSOLO", sections 3.3 and 3.4; the release's PseudoSOLOv2.

#include <vector>

#include "usol/models/detector.h"
#include "usol/models/solov2/config.h"
#include "usol/models/solov2/ins_head.h"
#include "usol/models/solov2/targets.h"

namespace usol::solov2 {

/// "loss_ins_max" and "loss_ins" (dice of the masks' maxima and means over rows and over columns), "loss_pairwise"
/// (neighbours of one colour inside the object's box agree; grows over the first steps), "loss_emb" (1 - cosine with
/// the object's embedding) and "loss_cate". Masks' losses are means over the levels that have objects. `pictures` are
/// those of the batch, before their colours were normalised. Without embeddings among the truths "loss_emb" is 0.
detection::Losses freesolo_losses(const std::vector<Cells>& cells, const Tensor& features,
                                  const std::vector<LevelTargets>& targets, const std::vector<Tensor>& pictures,
                                  const std::vector<detection::Truths>& truths, std::int64_t step, const Config& config,
                                  Communicator* ranks);

}  // namespace usol::solov2
