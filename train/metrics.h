#pragma once
// What a training says of itself: metrics.json, one JSON object a line under Detectron2's keys, and the same as a line
// for people. Figures are medians over the steps since the line before, as Detectron2 smooths them.

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "train/trainer.h"

namespace usol::train {

class Metrics {
 public:
  /// Appends to `path`. Lines of steps from `first` on, and a line that a crash cut short, are taken out: those steps
  /// are made once more. `state` is what state() gave at that point ("" at the start).
  /// Throws Error(kIo), or Error(kFormat) if `state` is not from state().
  Metrics(std::filesystem::path path, std::int64_t first, const std::string& state = {});

  void add(const StepReport& report, double data_seconds, double seconds);
  bool empty() const { return window_.empty(); }
  /// Writes a line for the steps added since the last one and returns it for people. `iterations`: of the whole run.
  std::string write(std::int64_t iterations);
  /// The steps that no line has yet (without times), as text.
  std::string state() const;

 private:
  std::filesystem::path path_;
  std::vector<StepReport> window_;
  std::vector<double> data_seconds_, seconds_;
};

}  // namespace usol::train
