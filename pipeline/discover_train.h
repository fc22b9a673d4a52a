#pragma once
// Pictures -> the layer that FOUND trains on them (usol discover).

#include <cstdint>
#include <string>

#include "usol/pipeline/feature_source.h"
#include "usol/pipeline/inputs.h"
#include "usol/pipeline/picture_options.h"
#include "usol/pipeline/run.h"
#include "usol/pipeline/settings.h"

namespace usol {

class HeadTraining {
 public:
  void declare(Settings& settings);
  bool wanted() const { return !out_.empty(); }
  /// Trains and writes the file; returns a status (pipeline/run.h): kSomeInputsFailed if pictures could not be read and
  /// others took their places (train/skipped_pictures.h), which the file's info then names as "failed". A run that was
  /// stopped leaves FILE.state, from which another one goes on to the same bytes.
  int run(const Run& run, FeatureOptions source, const InputOptions& inputs, const PictureOptions& pictures);

 private:
  std::string out_;
  std::int64_t iterations_ = 500, batch_ = 50;
  double most_skipped_ = 0.01;
};

}  // namespace usol
