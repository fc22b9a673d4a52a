#pragma once
// The points of a sweep that are detectors: each is made and scored by self_train() on masks that points share. A part
// of pipeline/sweep.h.

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "usol/eval/sweep.h"
#include "usol/pipeline/run.h"
#include "usol/pipeline/self_train.h"

namespace usol {

class DetectorSweep {
 public:
  /// In the folder of a detector: how its first training was made, as a settings file.
  static constexpr const char* kSettings = "train.toml";

  /// True for what a point may vary: "rounds", "seed", "precision", and a setting of TrainConfig that changes the
  /// result.
  static bool has(const std::string& key);

  explicit DetectorSweep(const Run& run) : run_(run) {}
  /// Plans a detector for each of `points`, which vary `base`; points that differ in rounds only share their trainings.
  /// `masks[i]` is the file that point i learns from, or will. Reads and checks the settings of all. Throws
  /// Error(kUsage), and Error(kUnsupported) for a precision that the device lacks.
  void plan(const SelfTrainConfig& base, const std::vector<eval::SweepPoint>& points,
            const std::vector<std::string>& masks, const std::filesystem::path& out);
  /// Checks the truth that detectors are scored with, and `masks_exist`: the masks of the first with all of their
  /// pictures. Throws Error for what would end a training or its evaluation.
  void check_data(bool masks_exist) const;
  /// Makes all of them; returns a status.
  int run();

  std::vector<std::filesystem::path> folders() const;
  /// What self_train() has made for point i, once run() is done.
  const SelfTrainDetector& result(std::size_t i) const;

 private:
  struct Detector {
    std::string name;
    SelfTrainConfig config;
    Run run;
    SelfTrainResult result = {};
  };
  struct Point {
    std::size_t detector;
    std::int64_t rounds;
  };
  Detector make_detector(const SelfTrainConfig& base, const eval::SweepPoint& point) const;
  void write_settings(const Detector& detector) const;

  const Run& run_;
  std::vector<Detector> detectors_;
  std::vector<Point> points_;
};

}  // namespace usol
