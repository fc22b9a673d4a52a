#pragma once
// Pictures -> the objects that a trained detector finds in them, as a COCO file: the work of `usol predict`, the
// answers of a training round and the pseudo-masks of the next one.

#include <cstdint>
#include <string>

#include "usol/pipeline/detect.h"
#include "usol/pipeline/image_job.h"
#include "usol/pipeline/inputs.h"
#include "usol/pipeline/picture_options.h"
#include "usol/pipeline/run.h"
#include "usol/pipeline/settings.h"

namespace usol {

/// Where the results go.
struct PredictOutputs {
  std::string coco;           // the COCO file
  std::string overlays = {};  // a folder for pictures of the results; empty: none

  void declare(Settings& settings);
};

struct PredictJob {
  InputOptions inputs;
  PictureOptions pictures;
  std::string weights;             // the detector's
  std::string entry = {};          // of the weights, as CheckpointOptions::entry; empty: what is found
  double score = 0.35, nms = 0.5;  // objects must score more; of those that overlap more, the best stays
  std::int64_t most = 100;         // objects per picture
  double widest_share = 0;         // of the picture's width: of those, boxes as wide or wider are left out; 0: none are
  std::int64_t short_px = 0, long_px = 0;  // size at which pictures enter the network; 0: what the detector is made for
  bool tta = false;                        // test-time augmentation, in these sizes:
  TestViews tta_views;
  std::int64_t batch = 8;  // pictures that a device of its own works on at once
  ShardOption shard;

  /// Declares everything but where the results go.
  void declare(Settings& settings);
  /// Does the work, and returns a status, as run_image_job(). The categories are those that the detector was trained
  /// on, where its weights name them (pipeline/detector_categories.h). Throws Error if the weights are no detector's.
  int run(const Run& run, const PredictOutputs& outputs) const;
};

}  // namespace usol
