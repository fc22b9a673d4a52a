#pragma once
// DINO-seg: the patches that hold most of the attention of the class token, in one head.
// Source: Caron et al. 2021 (DINO), section 4.2.2, as Simeoni et al. 2021 (LOST) use it for boxes.

#include "usol/maskcut/baselines/discovery.h"
#include "usol/models/preset.h"

namespace usol::maskcut {

struct DinoSegOptions {
  int head = 4;       // from 0
  float mass = 0.6f;  // share of the head's attention that is kept
  Preset preset = Preset::kPaper;
};

/// The largest component of the patches that hold `mass` of the attention.
/// attention: of the class token to the patches in the last block, f32 [heads, h, w], not negative.
/// release: the component labelled last is never considered, so with one component the background is taken, and with
/// two the first; and the box is not clipped to the picture.
/// Throws Error when shapes, dtypes or options are not as said, or the head's attention is all zero.
std::vector<Discovery> dino_seg(const Tensor& attention, std::int64_t patch, const Size& picture,
                                const DinoSegOptions& options = {});

}  // namespace usol::maskcut
