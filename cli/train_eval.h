#pragma once
// How good a detector is while it is being trained: found objects of held-out pictures against their truth.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/train_settings.h"
#include "io/coco.h"
#include "models/rcnn/rcnn.h"

namespace usol {

class TrainEvaluation {
 public:
  /// Reads the truth of settings.eval_annotations. A model of one class is scored without regard to classes; one of
  /// more has the truth's categories in order of their ids. Throws what read_coco() throws, and Error(kUsage) if there
  /// is no folder of pictures or the number of categories is another.
  TrainEvaluation(const TrainSettings& settings, std::int64_t classes);

  /// Percentages under Detectron2's names ("bbox/AP", "segm/AP50", "bbox/AR100", ...); what there is no truth for is
  /// left out. Nothing once `stop`, which is asked before each picture, says yes. Throws Error if a picture cannot be
  /// read.
  std::optional<std::map<std::string, double>> run(const Rcnn& model, const std::function<bool()>& stop) const;

 private:
  const TrainSettings& settings_;
  AnnotationSet truth_;
  std::vector<std::int64_t> categories_;  // ids by class
  bool class_agnostic_;
};

}  // namespace usol
