#pragma once
// The learning rate of each step: a linear warm-up, then a constant that falls at given steps.
// Source: Goyal et al. 2017, "Accurate, Large Minibatch SGD" (warm-up, linear scaling); Detectron2's WarmupMultiStepLR.

#include <cstdint>
#include <vector>

namespace usol::train {

/// The defaults are CutLER's, for batches of 16 pictures (Wang et al. 2023, section 4).
struct Schedule {
  double learning_rate = 0.005;
  std::int64_t iterations = 160000;
  std::vector<std::int64_t> steps{80000};  // iterations from which the rate is multiplied by gamma once more; ascending
  double gamma = 0.2;
  std::int64_t warmup = 1000;  // iterations; 0: none
  double warmup_factor = 0.001;

  /// Throws Error(kUsage) on numbers that make no schedule.
  void check_valid() const;
  /// The rate at an iteration, counted from 0. The warm-up is a straight line from warmup_factor * learning_rate to the
  /// rate that holds at its end.
  double rate(std::int64_t iteration) const;
};

/// The same training with another number of pictures per step: the rate times batch / reference, all counts of
/// iterations divided by it (rounded half to even; Detectron2's auto_scale_workers).
Schedule scaled(const Schedule& schedule, std::int64_t batch, std::int64_t reference);
/// A count of iterations scaled likewise; at least 1 if it was.
std::int64_t scaled_iterations(std::int64_t iterations, std::int64_t batch, std::int64_t reference);

/// A number that grows in a straight line from 0 to `first` in the first `warmup` iterations, the last of which has
/// `first`, and goes to `last` on half a cosine in the others. Source: Loshchilov & Hutter 2017, "SGDR"; DINO's
/// cosine_scheduler.
struct CosineSchedule {
  double first = 0, last = 0;
  std::int64_t iterations = 1, warmup = 0;

  /// At an iteration, counted from 0.
  double value(std::int64_t iteration) const;
};

}  // namespace usol::train
