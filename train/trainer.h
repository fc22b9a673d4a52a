#pragma once
// One step of the detector's training after another: losses, gradients, optimiser, averages. Everything random in a
// step depends on (seed, iteration), so a training that goes on from its state makes the same steps as one that never
// stopped.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "usol/models/detector.h"
#include "usol/nn/param_store.h"
#include "usol/train/dataset.h"
#include "usol/train/ema.h"
#include "usol/train/gradient_sums.h"
#include "usol/train/optimizer.h"
#include "usol/train/schedule.h"
#include "usol/train/step.h"

namespace usol::train {

struct TrainerOptions {
  Schedule schedule;
  OptimizerOptions optimizer;
  std::uint64_t seed = 0;
  /// A step is so many passes, each over its share of the batch, one after the other: losses and gradients are the
  /// means of the passes', as those of so many processes would be. Norms take their statistics from a pass.
  std::int64_t accumulate = 1;
  /// Format of maps and products (f32, bf16, f16). Parameters, statistics, boxes and losses are f32 all the same.
  DType precision = DType::kF32;
  /// Of the running average of the weights; 0: none is kept.
  double ema_decay = 0;
  /// What a loss that is not finite does: false: nothing, the step is skipped; true: as in the public code, the
  /// optimiser repeats the last step's gradients.
  bool repeat_on_bad_loss = false;
  std::int64_t most_bad_steps = 50;  // one after the other, before training is given up
  /// The processes that train together; null: this one alone. Each has its share of every batch, as the loader deals
  /// it out, and all make the same steps as one process with the whole batch.
  Communicator* ranks = nullptr;
  /// Sums of gradients travel during backward; false: after it. The results are the same bits.
  bool overlap = true;
};

class Trainer {
 public:
  /// `model`'s parameters are in `store`; both must outlive this.
  Trainer(ParamStore& store, const Detector& model, const TrainerOptions& options);

  /// Trains on a batch, or on this rank's share of it; the report is that of the whole batch on every rank. After a bad
  /// step the model is as before it, statistics of norms included (unless repeat_on_bad_loss). Throws Error after too
  /// many bad steps in a row.
  StepReport step(const std::vector<Sample>& batch);
  /// Steps done.
  std::int64_t iteration() const { return iteration_; }
  /// Steps of the whole training.
  std::int64_t iterations() const { return options_.schedule.iterations; }
  bool finished() const { return iteration_ >= iterations(); }
  std::int64_t bad_steps() const { return bad_steps_; }

  /// How gradients travel; null without other ranks.
  const GradientSums* sums() const { return sums_ ? &*sums_ : nullptr; }
  /// The running average of the weights; null if none is kept.
  Ema* ema() { return ema_ ? &*ema_ : nullptr; }
  const LossScale& loss_scale() const { return scale_; }

  /// Everything that the next steps depend on: "model/NAME", the optimiser's state, "ema/NAME", "trainer/counts" and
  /// "trainer/loss_scale", sharing storage.
  StateDict state() const;
  /// Copies a state in. Throws Error(kFormat) if it does not fit the model.
  void load_state(const StateDict& state);

 private:
  bool compute(const std::vector<Sample>& batch, StepReport& report);
  Tensor pass(std::span<const Sample> batch, std::int64_t first_picture, StepReport& report) const;

  ParamStore& store_;
  const Detector& model_;
  TrainerOptions options_;
  Optimizer optimizer_;
  std::optional<GradientSums> sums_;  // if there are other ranks
  std::optional<Ema> ema_;
  LossScale scale_;
  double collected_scale_ = 1;  // of the gradients that the optimiser has
  std::int64_t iteration_ = 0, bad_steps_ = 0, bad_in_a_row_ = 0;
};

}  // namespace usol::train
