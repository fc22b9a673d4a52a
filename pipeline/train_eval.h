#pragma once
// How good a detector is while it is being trained: found objects of held-out pictures against their truth.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "usol/eval/coco_eval.h"
#include "usol/io/coco.h"
#include "usol/models/detector.h"
#include "usol/ops/all_reduce.h"
#include "usol/pipeline/train_config.h"
#include "usol/train/picture_check.h"

namespace usol {

class TrainEvaluation {
 public:
  /// Reads the truth of settings.eval_annotations, and finds everything in it that scoring would stumble over. A model
  /// of one class is scored without regard to classes; one of more has the truth's categories in order of their ids;
  /// one without masks, or that learned them from boxes where the truth has none, by boxes alone. Throws what
  /// read_coco() and evaluate_coco() throw, Error(kFormat) for a malformed mask, and Error(kUsage) if there is no
  /// folder of pictures or the number of categories is another.
  TrainEvaluation(const TrainConfig& settings, std::int64_t classes);

  const io::AnnotationSet& truth() const { return truth_; }
  /// Looks at the headers of all pictures.
  train::PictureReport check_pictures(const std::function<bool()>& stop) const;

  struct Scores {
    std::map<std::string, double> percentages;
    std::vector<std::string> unreadable;  // pictures that count as ones in which nothing was found
  };
  /// Percentages under Detectron2's names ("bbox/AP", "segm/AP50", "bbox/AR100", ...); what there is no truth for is
  /// left out. With `ranks`, each finds the objects of its share of the pictures, and the first one alone gets
  /// scores: those of one process. Nothing once `stop`, which is asked now and then, says yes (on all ranks at once).
  std::optional<Scores> run(const Detector& model, const std::function<bool()>& stop,
                            Communicator* ranks = nullptr) const;

 private:
  std::vector<eval::IouType> types() const;

  const TrainConfig& settings_;
  bool masks_;
  io::AnnotationSet truth_;
  std::vector<std::int64_t> categories_;  // ids by class
  bool class_agnostic_;
};

}  // namespace usol
