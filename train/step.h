#pragma once
// What all trainings' steps have in common: the report of a step, the factor of f16's losses, and gradients that are
// collected in passes over shares of a batch.

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "usol/train/gradient_sums.h"
#include "usol/train/optimizer.h"

namespace usol::train {

struct StepReport {
  std::int64_t iteration = 0;            // from 0
  std::map<std::string, double> losses;  // Detectron2's names; empty if the step was bad before they were known
  double total = 0, learning_rate = 0;
  std::map<std::string, double> figures;  // others that are worth a curve
  double gradient_norm = 0;               // of all parameters together, before clipping
  bool bad = false;                       // loss or gradient not finite
  double loss_scale = 1;                  // that the step was made with
  /// Wall time by part, waits for other processes included. Kernels of a GPU count where they are waited for: those of
  /// backward with the optimiser.
  struct {
    double forward = 0, backward = 0, optimizer = 0;
  } seconds;
};

/// Adds the time it lives to `seconds`.
class AddTime {
 public:
  explicit AddTime(double& seconds) : seconds_(seconds) {}
  ~AddTime() { seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  AddTime(const AddTime&) = delete;
  AddTime& operator=(const AddTime&) = delete;

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// The factor by which losses are multiplied before gradients of f16 are taken, so that small ones do not vanish.
/// Source: Micikevicius et al. 2018, "Mixed Precision Training"; PyTorch's GradScaler.
struct LossScale {
  static constexpr double kFirst = 65536, kGrowth = 2, kBackoff = 0.5;
  static constexpr std::int64_t kGrowthInterval = 2000;  // good steps
  double factor = 1;
  std::int64_t good_steps = 0;  // since the factor changed

  void update(bool good);
};

/// Collects the gradients of a step in so many passes, one after the other, and adds them up over ranks (`sums`; null:
/// this process is alone). `loss(i)` computes pass number i: it adds what it finds to `report` and returns its loss, of
/// one element, whose gradient counts `factor` times. Returns false as soon as report.total is not finite, and the
/// optimiser has what the passes before have given, or, if it was the first one, still the last step's gradients.
bool collect_gradients(std::int64_t passes, double factor, Optimizer& optimizer, GradientSums* sums, StepReport& report,
                       const std::function<Tensor(std::int64_t)>& loss);

}  // namespace usol::train
