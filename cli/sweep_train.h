#pragma once
// The training half of `usol sweep`: a detector for each point, made and scored by `usol self-train`.
// Place: the paper's ablation of DropLoss, and of whatever else `usol train` can be told, on masks that points share.

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "usol/cli/options.h"
#include "usol/cli/verb.h"
#include "usol/eval/sweep.h"

namespace usol::cli {

class SweepTraining {
 public:
  void declare(Options& options);
  /// True for what a point may vary: "rounds", and an option of usol train that changes the result.
  bool has(const std::string& key) const;
  /// True if masks were given, so that MaskCut has nothing to do.
  bool has_masks() const { return !masks_.empty(); }

  /// Plans a detector for each of `points` with what `has()` of its settings; points that differ in rounds only share
  /// their trainings. `masks[i]` is the file that point i learns from, or will; `inputs` and `image_root` are the
  /// verb's. Reads and checks the settings of all. Throws Error(kUsage).
  void plan(const Run& run, const std::vector<eval::SweepPoint>& points, const std::string& preset,
            const std::vector<std::string>& masks, const std::vector<std::string>& inputs,
            const std::string& image_root, const std::filesystem::path& out);
  /// Checks the truth that detectors are scored with, and the masks that were given, with all of their pictures. Throws
  /// Error for what would end a training or its evaluation.
  void check_data(const Run& run) const;
  /// Makes all of them; returns the exit status.
  int run(const Run& run, const Options& options) const;
  /// What it reads beside the masks, and the folders of all detectors.
  std::vector<std::string> reads() const { return {train_config_, round_config_, weights_, masks_, eval_annotations_}; }
  std::vector<std::filesystem::path> folders() const {
    std::vector<std::filesystem::path> all;
    for (const Detector& detector : detectors_) all.push_back(detector.folder);
    return all;
  }
  /// Its file in such a folder: how the first detector is made.
  static constexpr const char* kSettings = "train.toml";
  /// The metrics and the predictions of point i.
  std::filesystem::path metrics(std::size_t i) const { return result(i) / "eval" / "metrics.json"; }
  std::filesystem::path predictions(std::size_t i) const { return result(i) / "eval-predict" / "predictions.json"; }
  /// The file of masks that was given, or "".
  const std::string& masks() const { return masks_; }

 private:
  struct Detector {
    std::filesystem::path folder;
    std::string name, masks, preset, seed, precision;
    std::vector<std::string> settings;  // words for usol train, which say how the first detector is made
    std::int64_t rounds = 0;
  };
  struct Result {
    std::size_t detector;
    std::int64_t rounds;
  };
  std::filesystem::path result(std::size_t i) const;

  std::string train_config_, round_config_, weights_, masks_, eval_annotations_, eval_image_root_, image_root_;
  std::vector<Detector> detectors_;
  std::vector<Result> results_;
};

}  // namespace usol::cli
