#pragma once
// Pictures -> their patch features, a file each: for MaskCut later or elsewhere, or for other programs.

#include <cstdint>
#include <string>

#include "usol/pipeline/feature_source.h"
#include "usol/pipeline/image_job.h"
#include "usol/pipeline/inputs.h"
#include "usol/pipeline/pca_pictures.h"
#include "usol/pipeline/picture_options.h"
#include "usol/pipeline/run.h"
#include "usol/pipeline/settings.h"

namespace usol {

struct FeaturesJob {
  InputOptions inputs;
  PictureOptions pictures;
  FeatureOptions features;    // with `features.attention` the files hold the class token's attention, too
  std::string dtype = "f32";  // number format of the files: "f32" or "f16"
  bool padded = false;        // pictures keep their size and are zero-padded to whole patches (Framing::kPadded)
  // Above 0: pictures are resized by their short side (Framing::kShortSide), the long one at most long_side.
  std::int64_t short_side = 0, long_side = maskcut::ShortSide{}.most_px;
  PcaOptions pca;  // pictures of the features, too
  ShardOption shard;

  /// Declares everything but where the results go.
  void declare(Settings& settings);
  /// Writes <relative path without extension>.safetensors into `folder` for each picture: "features" [D, h, w], and
  /// "attention" [heads, h, w] if asked for. folder/features.json, or features.KofN.json of a shard, lists the pictures
  /// and says how the features were made. Returns a status, and throws, as run_image_job(), FeatureOptions::open() and
  /// write_pca_pictures(); Error(kUsage) for the components of all pictures and a shard of them.
  int run(const Run& run, const std::string& folder) const;
};

}  // namespace usol
