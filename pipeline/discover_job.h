#pragma once
// Pictures -> the objects that a method of discovery finds in them, as a COCO file: what MaskCut is compared with.

#include <string>

#include "usol/pipeline/discover_methods.h"
#include "usol/pipeline/discover_train.h"
#include "usol/pipeline/feature_source.h"
#include "usol/pipeline/image_job.h"
#include "usol/pipeline/inputs.h"
#include "usol/pipeline/picture_options.h"
#include "usol/pipeline/run.h"
#include "usol/tensor/settings.h"

namespace usol {

/// Where the results go.
struct DiscoverOutputs {
  std::string coco;           // the COCO file: one category, "fg", boxes as the method has them
  std::string overlays = {};  // a folder for pictures of the results; empty: none
  std::string maps = {};      // a folder for saliency maps, .npy of f32 [H, W], about 0..1; empty: none

  void declare(Settings& settings);
};

struct DiscoverJob {
  InputOptions inputs;
  DiscoverMethod method;
  FeatureOptions features;
  PictureOptions pictures;
  ShardOption shard;

  /// features.size is 0: as the method has it.
  DiscoverJob() { features.size = 0; }
  /// Declares everything but where the results go and the shard. `training`: also the settings of training FOUND's
  /// layer, for a program that has that work to choose.
  void declare(Settings& settings, HeadTraining* training = nullptr);
  /// Does the work, and returns a status, as run_image_job(); pictures of more than 65536 patches are failures. Throws
  /// Error(kUsage) for settings that do not go with the method and for maps of one that makes none, and as
  /// DiscoverMethod::load(), FeatureOptions::open() and run_image_job().
  int run(const Run& run, const DiscoverOutputs& outputs);
};

}  // namespace usol
