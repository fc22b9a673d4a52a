#pragma once
// One step of DINO's training after another, from crops alone: a student learns to say of one crop of a picture what
// its teacher says of another; the teacher is the running average of the student. Everything random in a step depends
// on (seed, iteration), as in trainer.h.
// Source: Caron et al. 2021, "Emerging Properties in Self-Supervised Vision Transformers", algorithm 1, and the public
// code; Zhou et al. 2022, "iBOT", for the term of hidden patches.

#include <cstdint>
#include <optional>
#include <string>

#include "usol/models/dino_head.h"
#include "usol/models/vit.h"
#include "usol/nn/param_store.h"
#include "usol/train/dino_loss.h"
#include "usol/train/gradient_sums.h"
#include "usol/train/optimizer.h"
#include "usol/train/schedule.h"
#include "usol/train/step.h"

namespace usol::train {

/// Crops of N pictures, on the CPU; see multi_crop.h.
struct CropBatch {
  Tensor globals;  // [N, 2, 3, S, S]
  Tensor locals;   // [N, locals, 3, s, s]; undefined without any
  Tensor hidden;   // u8 [N, 2, patches]: hidden from the student; undefined without that term
};

/// The teacher's temperature: from `first` to `last` in a straight line over the first epochs, then `last`.
struct TemperatureSchedule {
  double first = 0.04, last = 0.04;
  std::int64_t warmup_epochs = 0;
  double value(std::int64_t epoch) const;
};

struct PretrainerOptions {
  VitConfig vit;  // the student's; the teacher has no drop path
  DinoHeadConfig head;
  CosineSchedule rate, weight_decay, momentum;  // momentum: the teacher's; their iterations are those of the training
  TemperatureSchedule teacher_temperature;
  std::int64_t steps_per_epoch = 1;
  std::int64_t frozen_epochs = 1;  // in which the last layer stays as it began
  double student_temperature = 0.1, centre_momentum = 0.9;
  double patch_weight = 0;  // of the term of hidden patches; 0: there is none
  double clip_norm = 3;     // of each parameter's gradient by itself; 0: no clipping
  std::uint64_t seed = 0;
  /// A step is so many passes, each over an equal share of the batch, one after the other: the losses, gradients and
  /// centres are those of one pass over all of it, but for rounding.
  std::int64_t accumulate = 1;
  DType precision = DType::kF32;     // of products; parameters, losses and averages are f32
  std::int64_t most_bad_steps = 50;  // one after the other, before training is given up
  /// The processes that train together; null: this one alone. Each has its share of every batch, of one size.
  Communicator* ranks = nullptr;
  bool overlap = true;  // sums of gradients travel during backward
};

class Pretrainer {
 public:
  /// Throws Error(kUsage) on options that do not fit together.
  Pretrainer(const PretrainerOptions& options, Device device);

  /// Copies the weights of a ViT of this size (no head) into student and teacher. Throws Error(kFormat) listing what
  /// does not fit; `what` names the file.
  void start_from(const StateDict& backbone, const std::string& what);
  /// Trains on a batch, or on this rank's share of it; the report is that of the whole batch on every rank. A step
  /// whose loss or gradient is not finite changes nothing. Throws Error after too many of them in a row, and
  /// Error(kUsage) if the batch is not so many equal shares as there are passes.
  StepReport step(const CropBatch& batch);

  std::int64_t iteration() const { return iteration_; }
  std::int64_t iterations() const { return options_.rate.iterations; }
  bool finished() const { return iteration_ >= iterations(); }
  std::int64_t bad_steps() const { return bad_steps_; }
  const LossScale& loss_scale() const { return scale_; }
  /// Of the last good step.
  const TeacherFigures& figures() const { return figures_; }

  /// What is kept in the end: its features are better than the student's.
  const Vit& teacher() const { return teacher_; }
  /// The teacher's parameters under the names of a published backbone, without head, sharing storage.
  StateDict backbone() const;
  /// The student's parameters with their gradients, for tests: "backbone....", "head....".
  const ParamStore& student_parameters() const { return student_store_; }

  /// Everything that the next steps depend on: "student/NAME", "teacher/NAME", the optimiser's state, "centre",
  /// "patch_centre", "pretrainer/counts" and "pretrainer/loss_scale", sharing storage.
  StateDict state() const;
  /// Copies a state in. Throws Error(kFormat) if it does not fit the model.
  void load_state(const StateDict& state);

 private:
  struct Taught;  // what the teacher says of a batch
  struct Hidden;  // which patches are hidden
  struct Totals;
  Taught teach(const Tensor& globals, const Hidden& hidden) const;
  Tensor student_scores(const CropBatch& batch, std::int64_t first_picture, const Hidden& hidden,
                        Tensor& patch_scores) const;
  Tensor pass(const CropBatch& batch, std::int64_t first_picture, std::int64_t crops, Totals& totals,
              StepReport& report) const;
  void take_centres(const Totals& totals, std::int64_t crops);
  bool compute(const CropBatch& batch, StepReport& report);
  void freeze_last_layer() const;
  std::int64_t epoch() const { return iteration_ / options_.steps_per_epoch; }

  PretrainerOptions options_;
  Device device_;
  ParamStore student_store_, teacher_store_;
  Vit student_;
  DinoHead student_head_;
  Vit teacher_;
  DinoHead teacher_head_;
  Tensor centre_, patch_centre_;  // [K]
  Optimizer optimizer_;
  std::optional<GradientSums> sums_;
  LossScale scale_;
  TeacherFigures figures_;
  std::int64_t iteration_ = 0, bad_steps_ = 0, bad_in_a_row_ = 0;
};

}  // namespace usol::train
