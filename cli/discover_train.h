#pragma once
// `usol discover --method found --train-head FILE`: pictures -> FOUND's trained layer.

#include <cstdint>
#include <string>

#include "usol/cli/feature_source.h"
#include "usol/cli/inputs.h"
#include "usol/cli/options.h"
#include "usol/cli/picture_options.h"
#include "usol/cli/verb.h"

namespace usol {

class HeadTraining {
 public:
  void declare(Options& options);
  bool wanted() const { return !out_.empty(); }
  /// Trains, writes the file and returns the exit status. A run that a signal stopped leaves FILE.state, from which
  /// --resume goes on to the same bytes.
  int run(const Common& common, const Options& options, FeatureOptions source, const InputOptions& inputs,
          const PictureOptions& pictures);

 private:
  std::string out_;
  std::int64_t iterations_ = 500, batch_ = 50;
};

}  // namespace usol
