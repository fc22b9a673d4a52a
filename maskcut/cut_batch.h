#pragma once
// maskcut/cut.h for many pictures in step: affinities and eigenproblems of all of them together on the features'
// device, the rest on the host's threads.

#include <exception>
#include <span>
#include <vector>

#include "usol/maskcut/cut.h"
#include "usol/tensor/tensor.h"

namespace usol::maskcut {

/// The cuts of one picture, or why there are none.
struct PictureCuts {
  CutResult result;
  std::exception_ptr error;
};

/// cut_features() of each of N pictures: features f32 [N, D, h, w], which decide the device; frames [N]; options [N],
/// which may differ in `dump` alone. A picture's result depends on its own features only.
/// Errors of one picture are its outcome; those of all (shapes, options, the device) are thrown.
std::vector<PictureCuts> cut_features_batch(const Tensor& features, std::span<const Size> frames,
                                            std::span<const MaskCutOptions> options);

}  // namespace usol::maskcut
