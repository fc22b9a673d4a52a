#include "usol/pipeline/sweep_detectors.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "usol/io/atomic_file.h"
#include "usol/pipeline/precision.h"
#include "usol/pipeline/train_job.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

// What varies with a point beside the settings of its training.
struct PointSettings {
  std::int64_t rounds, seed;
  std::string precision;

  void declare(Settings& settings) {
    settings.add("rounds N", rounds, "Rounds of self-training after the first one").between(0, 100);
    settings.add("seed N", seed, "Seed of everything random").at_least(0);
    settings.choice("precision", precision, kPrecisions, "Arithmetic of matrix products and convolutions");
  }
};

bool is_of_point(const std::string& key) { return key == "rounds" || key == "seed" || key == "precision"; }

}  // namespace

bool DetectorSweep::has(const std::string& key) {
  TrainConfig config;
  SettingsTable of_training("train");
  config.declare(of_training);
  return is_of_point(key) || of_training.changes_results(key);
}

// But for its masks and folder.
DetectorSweep::Detector DetectorSweep::make_detector(const SelfTrainConfig& base, const eval::SweepPoint& point) const {
  Detector detector{"detector", base, run_};
  SelfTrainConfig& config = detector.config;
  PointSettings own{0, static_cast<std::int64_t>(run_.seed), to_string(run_.precision)};
  SettingsTable of_point("sweep"), of_training("train");
  own.declare(of_point);
  std::vector<std::pair<std::string, std::string>> named, training;  // rounds share a folder
  for (const auto& [key, value] : point.settings) {
    if (key == "preset") config.use_preset(value);
    if (is_of_point(key)) of_point.set(key, value);
    if (key != "rounds") named.emplace_back(key, value);
  }
  config.base.declare(of_training);
  for (const auto& setting : point.settings)
    if (of_training.changes_results(setting.first)) training.push_back(setting);
  of_training.set(training);
  if (!named.empty()) detector.name = eval::sweep_name(named);
  config.rounds = own.rounds;
  detector.run.seed = static_cast<std::uint64_t>(own.seed);
  detector.run.precision = precision_on(run_.device, own.precision, true);
  detector.run.made_by = "usol self-train";
  detector.run.settings_json.clear();
  return detector;
}

void DetectorSweep::plan(const SelfTrainConfig& base, const std::vector<eval::SweepPoint>& points,
                         const std::vector<std::string>& masks, const fs::path& out) {
  for (std::size_t p = 0; p < points.size(); ++p) {
    Detector detector = make_detector(base, points[p]);
    const std::int64_t rounds = detector.config.rounds;
    detector.config.annotations = masks[p];
    detector.config.out = (out / detector.name).string();
    detector.config.train_config = (out / detector.name / kSettings).string();
    const auto same = std::find_if(detectors_.begin(), detectors_.end(),
                                   [&](const Detector& other) { return other.name == detector.name; });
    points_.push_back({static_cast<std::size_t>(same - detectors_.begin()), rounds});
    if (same == detectors_.end())
      detectors_.push_back(std::move(detector));
    else
      same->config.rounds = std::max(same->config.rounds, rounds);
  }
}

void DetectorSweep::check_data(bool masks_exist) const {
  const Detector& first = detectors_.front();  // they differ in what they make of the data
  TrainConfig evaluation;
  evaluation.detector = first.config.base.detector;
  evaluation.eval_annotations = first.config.eval_annotations;
  evaluation.eval_image_root = first.config.eval_image_root;
  check_evaluation(run_, evaluation);
  if (!masks_exist) return;
  Run dry = first.run;
  dry.dry_run = true;
  dry.existing = Existing::kRefuse;
  TrainConfig training = first.config.base;
  training.pictures = training.pictures.for_another_job();
  run_training(
      dry, training,
      {first.config.annotations, first.config.image_root, first.config.weights, first.config.out, first.config.entry});
}

int DetectorSweep::run() {
  int status = kSuccess;
  for (std::size_t i = 0; i < detectors_.size(); ++i) {
    Detector& detector = detectors_[i];
    run_.note("detector {} of {}: {}", i + 1, detectors_.size(), detector.name);
    if (run_.dry_run) continue;
    run_.by_leader([&] {
      write_settings(detector);
      return kSuccess;
    });
    detector.result = self_train(detector.config, detector.run);
    if (detector.result.status != kSuccess && detector.result.status != kSomeInputsFailed)
      return detector.result.status;
    status = std::max(status, detector.result.status);
  }
  return status;
}

void DetectorSweep::write_settings(const Detector& detector) const {
  PointSettings own{0, static_cast<std::int64_t>(detector.run.seed), to_string(detector.run.precision)};
  TrainConfig config = detector.config.base;
  config.preset = detector.config.preset;
  SettingsTable settings("train");
  config.declare(settings);
  settings.add("seed", own.seed, "");
  settings.add("precision", own.precision, "");
  fs::create_directories(detector.config.out);
  io::write_file(detector.config.train_config, settings.to_toml());
}

std::vector<fs::path> DetectorSweep::folders() const {
  std::vector<fs::path> all;
  for (const Detector& detector : detectors_) all.emplace_back(detector.config.out);
  return all;
}

const SelfTrainDetector& DetectorSweep::result(std::size_t i) const {
  return detectors_[points_[i].detector].result.detectors.at(static_cast<std::size_t>(points_[i].rounds));
}

}  // namespace usol
