#pragma once
// The COCO detection protocol: average precision and recall of boxes or masks.
// Place: judges predictions, pseudo-masks and baselines; results are held equal to pycocotools' to 1e-9.
// Source: COCO API, cocoeval (the protocol); result names as Detectron2's.

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "usol/eval/metrics.h"
#include "usol/io/coco.h"
#include "usol/tensor/tensor.h"

namespace usol::eval {

enum class IouType { kBox, kMask };

struct CocoEvalOptions {
  /// One class for everything: category ids are not compared, and detections of categories that the truth lacks count.
  bool class_agnostic = false;
  /// Detections per image (and category) that count, best scores first; ascending. AP uses the last.
  std::vector<int> max_dets = {1, 10, 100};
  /// Fill CocoEvalResult::precision, recall and scores.
  bool curves = false;
};

struct CocoEvalResult {
  /// AP AP50 AP75 APs APm APl, AR1 AR10 AR100 (by max_dets), ARs ARm ARl. Means over the categories that have truths;
  /// -1 where none has.
  Metrics metrics;
  struct Category {
    std::int64_t id = 0;
    std::string name;
    std::int64_t truths = 0;      // that count, of any size
    std::int64_t detections = 0;  // that were considered
    Metrics metrics;
  };
  /// By ascending id; a single one, of id -1 and name "fg", if class-agnostic.
  std::vector<Category> categories;
  /// Detections left out because the truth has no such category.
  std::int64_t unknown_category = 0;

  // ---- curves, if asked for: f64, -1 where there is no truth ----
  Tensor
      precision;  // [T, R, K, A, M]: thresholds, recall points, categories, areas (all, small, medium, large), max_dets
  Tensor recall;  // [T, K, A, M]
  Tensor scores;  // [T, R, K, A, M]: the score at which each recall point is reached
};

/// IoU thresholds .50:.05:.95 and recall points 0:.01:1, with the roundings of the protocol's own code.
std::array<double, 10> coco_iou_thresholds();
std::array<double, 101> coco_recall_points();

/// Scores `predictions` (results, or a data set with scores) against `truth`. Masks are compared at the truth's image
/// sizes. Ties in score keep the order of image ids, then of the file (class-agnostic: of category ids first).
/// Throws Error(kFormat) naming file, record and field: a prediction for an image that the truth lacks, without score,
/// box or mask; a truth without box, area or mask; a mask of another size than its image.
CocoEvalResult evaluate_coco(const io::AnnotationSet& truth, const io::AnnotationSet& predictions, IouType type,
                             const CocoEvalOptions& options = {});
/// Finds everything in a truth that evaluate_coco() would stumble over, whatever is predicted: to be known before
/// predictions are made. Throws Error(kFormat) as it does.
void check_truth(const io::AnnotationSet& truth, IouType type, const CocoEvalOptions& options = {});

}  // namespace usol::eval
