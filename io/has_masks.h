#pragma once
// Whether a set of annotations can be compared, drawn or learned by masks, or by boxes alone.

#include <algorithm>

#include "usol/io/coco.h"

namespace usol::io {

/// Whether any annotation has a mask.
inline bool has_masks(const AnnotationSet& set) {
  return std::any_of(set.annotations.begin(), set.annotations.end(), [](const CocoAnnotation& annotation) {
    return annotation.segmentation.kind != Segmentation::Kind::kNone;
  });
}

}  // namespace usol::io
