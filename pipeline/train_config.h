#pragma once
// How a detector is trained, apart from where its files lie: the settings of `usol train`, with CutLER's as defaults.

#include <cstdint>
#include <string>
#include <vector>

#include "usol/models/choice.h"
#include "usol/models/detector.h"
#include "usol/pipeline/picture_options.h"
#include "usol/pipeline/settings.h"
#include "usol/pipeline/training_output.h"
#include "usol/train/augment.h"
#include "usol/train/copy_paste.h"
#include "usol/train/loader.h"
#include "usol/train/optimizer.h"
#include "usol/train/schedule.h"
#include "usol/train/trainer.h"

namespace usol {

struct TrainConfig {
  std::string preset = "paper";
  // Data.
  PictureOptions pictures;
  std::string truth_boxes = "file", views = "one", paste_objects = "some";
  bool copy_paste = true;
  train::AugmentOptions augment;
  train::CopyPasteOptions paste;  // its preset is this one's, its number of objects what paste_objects says
  std::int64_t group_size = 2;
  double most_skipped = 0.01;  // share of pictures that cannot be read
  // Detector: one of the registered kinds, each with its own settings (RcnnSettings, models/rcnn/settings.h).
  Choice<DetectorKind> detector{"rcnn"};
  // Steps.
  std::int64_t batch = 16, reference_batch = 16;
  train::Schedule base_schedule;  // for the reference batch
  std::string optimizer_name = "sgd";
  train::OptimizerOptions optimizer;  // its kind is what optimizer_name says
  std::int64_t accumulate = 1;
  double ema = 0;
  std::int64_t precise_bn = 200, precise_bn_every = 0;
  // Output.
  TrainingOutput output;
  std::int64_t pictures_every = 0, workers = 2;
  bool overlap = true;
  // Evaluation while training; none without annotations.
  std::string eval_annotations, eval_image_root;
  std::int64_t eval_every = 5000, eval_short_side = 800;

  /// Declares all of these.
  void declare(Settings& settings);
  /// Those of a settings file, such as configs/cutler_cascade.toml: its section [train]. Throws as
  /// SettingsTable::read_file().
  static TrainConfig from_toml(const std::string& path) { return config_from_toml<TrainConfig>(path, "train"); }

  // What the parts of a training make of them. Throw Error(kUsage) on values that do not fit together.
  MakeDetector make_detector(std::int64_t classes) const;
  train::Schedule schedule() const;
  /// `precision`: of the device's products.
  train::TrainerOptions trainer(std::uint64_t seed, DType precision) const;
  train::LoaderOptions loading(std::uint64_t seed) const;
  /// For the statistics of precise batch norms: each picture once, without copy-paste.
  train::LoaderOptions precise_loading(std::uint64_t seed) const;
};

}  // namespace usol
