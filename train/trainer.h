#pragma once
// One step of the detector's training after another: losses, gradients, SGD. Everything random in a step depends on
// (seed, iteration), so a training that goes on from its state makes the same steps as one that never stopped.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "models/rcnn/rcnn.h"
#include "nn/param_store.h"
#include "train/dataset.h"
#include "train/schedule.h"
#include "train/sgd.h"

namespace usol::train {

struct TrainerOptions {
  Schedule schedule;
  SgdOptions sgd;
  std::uint64_t seed = 0;
  /// What a loss that is not finite does: false: nothing, the step is skipped; true: as in the public code, the
  /// optimiser repeats the last step's gradients.
  bool repeat_on_bad_loss = false;
  std::int64_t most_bad_steps = 50;  // one after the other, before training is given up
};

struct StepReport {
  std::int64_t iteration = 0;            // from 0
  std::map<std::string, double> losses;  // Detectron2's names; empty if the step was bad before they were known
  double total = 0, learning_rate = 0;
  double gradient_norm = 0;  // of all parameters together, before clipping
  bool bad = false;          // loss or gradient not finite
};

class Trainer {
 public:
  /// `model`'s parameters are in `store`; both must outlive this.
  Trainer(ParamStore& store, const Rcnn& model, const TrainerOptions& options);

  /// Trains on a batch. After a bad step the model is as before it, statistics of norms included (unless
  /// repeat_on_bad_loss). Throws Error after too many bad steps in a row.
  StepReport step(const std::vector<Sample>& batch);
  /// Steps done.
  std::int64_t iteration() const { return iteration_; }
  bool finished() const { return iteration_ >= options_.schedule.iterations; }
  std::int64_t bad_steps() const { return bad_steps_; }

  /// Everything that the next steps depend on: "model/NAME", "momentum/NAME" and "trainer/counts", sharing storage.
  StateDict state() const;
  /// Copies a state in. Throws Error(kFormat) if it does not fit the model.
  void load_state(const StateDict& state);

 private:
  bool compute(const std::vector<Sample>& batch, StepReport& report);

  ParamStore& store_;
  const Rcnn& model_;
  TrainerOptions options_;
  Sgd sgd_;
  std::int64_t iteration_ = 0, bad_steps_ = 0, bad_in_a_row_ = 0;
};

/// Copies what `state` has into the model's parameters by name: a detector's names, or a backbone's alone (without
/// "backbone.bottom_up."). Parameters of another shape, such as the predictors of other classes, keep their start, as
/// in Detectron2. `what` names the file. Throws Error(kFormat) if nothing fits.
struct StartReport {
  std::vector<std::string> loaded, fresh, unused;
  std::vector<std::string> mismatched;  // "name: expected [..], got [..]"; these are fresh too
};
StartReport start_from(ParamStore& store, const StateDict& state, const std::string& what);

}  // namespace usol::train
