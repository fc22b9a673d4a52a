#pragma once
// What the parts of the detector hand to each other, one struct per picture: truths, proposals, samples, detections;
// what other detectors share is in models/detector.h. Boxes are [R, 4] f32, x0 y0 x1 y1 in pixels of the network's
// input. The names are Detectron2's where it has one.

#include <cstdint>
#include <vector>

#include "usol/models/detector.h"
#include "usol/tensor/tensor.h"

namespace usol::rcnn {

using detection::Detections;
using detection::DetectOptions;
using detection::Losses;
using detection::Truths;

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

}  // namespace usol::rcnn
