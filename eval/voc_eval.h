#pragma once
// Average precision as the PASCAL VOC challenge measures it since 2010, of boxes: and for groups without names, after
// they were assigned to the truth's categories so that the mean is largest.
// Place: beside eval/coco_eval.h; the metric of LOST's class-aware detectors.
// Source: Everingham et al. 2010; LOST's tools/evaluate_unsupervised_detection_voc.py (Simeoni et al. 2021).

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "usol/eval/metrics.h"
#include "usol/io/coco.h"

namespace usol::eval {

struct VocEvalResult {
  Metrics metrics;  // AP (mean over IoU .50:.05:.95), AP50, AP75: means over the categories that have truths; -1: none
  struct Category {
    std::int64_t id = 0;
    std::string name;
    std::int64_t truths = 0;            // that are not difficult
    std::optional<std::int64_t> group;  // the predictions' category that was scored; none: it has 0
    Metrics metrics;
  };
  std::vector<Category> categories;   // of the truth, by ascending id
  std::int64_t unknown_category = 0;  // detections of categories (or of groups assigned to none) that were left out
};

enum class VocGroups {
  kAreCategories,  // the predictions' categories are the truth's
  kAreAssigned  // they are groups: to each category one, so that the mean of AP50 is largest (Hungarian method); of the
                // category "other" of `usol group` no detection counts
};

/// By descending score (equals in the file's order), each detection takes the truth of its image and category that it
/// overlaps most, taken or not: right if their IoU is above the threshold and the truth is free, wrong if it is taken
/// or the IoU is not; of a difficult one (a crowd, in COCO's words) neither. Precision is made falling, and AP is the
/// area below it. Throws Error(kFormat) naming file and record as evaluate_coco() does.
VocEvalResult evaluate_voc(const io::AnnotationSet& truth, const io::AnnotationSet& predictions,
                           VocGroups groups = VocGroups::kAreCategories);

}  // namespace usol::eval
