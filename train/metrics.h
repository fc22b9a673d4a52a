#pragma once
// What a training says of itself: metrics.json, one JSON object a line under Detectron2's keys, the same in an event
// file for TensorBoard beside it, and as a line for people. Figures are medians over the steps since the line before,
// as Detectron2 smooths them.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "usol/io/event_file.h"
#include "usol/train/trainer.h"

namespace usol::train {

class Metrics {
 public:
  /// Appends to `path`. Lines of steps from `first` on, and a line that a crash cut short, are taken out: those steps
  /// are made once more. `state` is what state() gave at that point ("" at the start).
  /// `evaluate_again`: so is the evaluation of the step before `first`.
  /// Throws Error(kIo), or Error(kFormat) if `state` is not from state().
  Metrics(std::filesystem::path path, std::int64_t first, const std::string& state = {}, bool evaluate_again = false);

  void add(const StepReport& report, double data_seconds, double seconds);
  bool empty() const { return window_.empty(); }
  /// Lines of the file that were no figures of a step, and were taken out.
  std::int64_t damaged_lines() const { return damaged_lines_; }
  /// Writes a line for the steps added since the last one and returns it for people. `iterations`: of the whole run;
  /// `memory_bytes`: the most that tensors have taken so far, on the device that computes.
  std::string write(std::int64_t iterations, std::size_t memory_bytes);
  /// A line for what an evaluation after that iteration gave, and the same for people. Names have a '/' in them.
  std::string write_evaluation(std::int64_t iteration, const std::map<std::string, double>& values);
  io::EventFile& events() { return events_; }
  /// The steps that no line has yet (without times), as text.
  std::string state() const;

 private:
  void append(std::int64_t iteration, const std::map<std::string, double>& values);

  std::filesystem::path path_;
  io::EventFile events_;
  std::vector<StepReport> window_;
  std::vector<double> data_seconds_, seconds_;
  std::int64_t damaged_lines_ = 0;
};

}  // namespace usol::train
