#pragma once
// What the parts of the detector hand to each other, one struct per picture: truths, proposals, samples, detections.
// Boxes are [R, 4] f32, x0 y0 x1 y1 in pixels of the network's input. The names are Detectron2's where it has one.

#include <cstdint>
#include <vector>

#include "usol/tensor/tensor.h"

namespace usol::rcnn {

/// Size of a picture as it enters the network, before padding.
struct ImageSize {
  std::int64_t height = 0, width = 0;
};

/// The objects of a picture, for training.
struct Truths {
  Tensor boxes;    // [G, 4]
  Tensor classes;  // i64 [G], from 0
  Tensor masks;    // u8 or bool [G, H, W] of the network's input (or of a larger frame); may be undefined without masks
};

/// Where objects may be: the RPN's result, by descending logit.
struct Proposals {
  Tensor boxes;   // [R, 4]
  Tensor logits;  // [R], objectness
};

/// Regions with their training targets.
struct Samples {
  Tensor boxes;     // [R, 4]
  Tensor classes;   // i64 [R]: the truth's class, or the number of classes for background
  Tensor truth;     // i64 [R], the best-overlapping truth; meaningful for foreground
  Tensor gt_boxes;  // [R, 4], that truth's box; undefined where a picture without truths was sampled

  std::int64_t size() const { return boxes.size(0); }
};

/// Found objects, by descending score.
struct Detections {
  Tensor boxes;    // [D, 4]
  Tensor scores;   // [D], in (0, 1]
  Tensor classes;  // i64 [D]
  Tensor masks;    // [D, M, M] f32, probabilities over the box; undefined in a model without masks

  std::int64_t size() const { return boxes.size(0); }
};

}  // namespace usol::rcnn
