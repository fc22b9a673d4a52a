#include "usol/pipeline/self_train_config.h"

#include <algorithm>
#include <filesystem>

#include "usol/pipeline/other_preset.h"
#include "usol/pipeline/train_job.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

// The file, or the one of that name beside `other`.
std::string found_beside(const std::string& other, const std::string& key, const std::string& file) {
  check(!file.empty(), ErrorKind::kUsage, "{} is missing: a settings file of a training", key);
  const fs::path beside = fs::path(other).parent_path() / file;
  check(fs::exists(file) || fs::exists(beside), ErrorKind::kUsage, "{} {}: no such file", key, file);
  return fs::exists(file) ? file : beside.string();
}

}  // namespace

std::vector<std::string> read_settings(const std::string& verb, const std::string& file, const std::string& preset,
                                       const std::function<void(Settings&)>& declare) {
  RunSettings run;
  SettingsTable settings(verb);
  declare(settings);
  run.declare(settings);
  if (!file.empty()) settings.read_file(file);
  if (!preset.empty()) settings.set("preset", preset);
  settings.apply_preset();
  return settings.given();
}

void SelfTrainConfig::declare(Settings& settings) {
  settings.preset(preset, {{"paper", {}}, {"release", {}}}, "Of all stages");
  settings.group("Files");
  settings.add("image-root DIR", image_root, "The training pictures", OptionKind::kRun);
  settings.add("annotations FILE", annotations, "COCO file with masks to begin with. Without it, MaskCut makes one",
               OptionKind::kRun);
  settings.add("weights FILE", weights, "What the first training starts from, such as DINO's ResNet-50",
               OptionKind::kRun);
  settings.add("maskcut-weights FILE", maskcut_weights, "DINO's ViT, for MaskCut", OptionKind::kRun);
  settings.add("eval-annotations FILE", eval_annotations, "Truth to evaluate each round's detector with",
               OptionKind::kRun);
  settings.add("eval-image-root DIR", eval_image_root, "Its pictures", OptionKind::kRun);
  settings.add("out DIR", out, "Folder of all stages", OptionKind::kRun);
  pictures.declare(settings, false);
  settings.group("Rounds");
  settings.add("rounds N", rounds, "Rounds after the first training", OptionKind::kRun).between(0, 100);
  settings
      .add("thresholds SCORE,...", thresholds,
           "Score from which predictions are kept, round by round; the last one for all others")
      .between(0, 1);
  settings.add("detections N", detections, "Predictions per training picture").at_least(1);
  settings.add("train-config FILE", train_config,
               "The first training; looked up beside the settings file, too, if it is not found", OptionKind::kRun);
  settings.add("round-config FILE", round_config, "The trainings of the rounds; likewise", OptionKind::kRun);
}

SelfTrainConfig SelfTrainConfig::from_toml(const std::string& path) {
  auto config = config_from_toml<SelfTrainConfig>(path, "self-train");
  config.read_stages(path);
  return config;
}

void SelfTrainConfig::read_stages(const std::string& file, const ReadSettings& read) {
  TrainFiles files;  // a settings file may name the weights that the first training starts from
  const auto read_training = [&](const std::string& key, std::string& settings_file, TrainConfig& config) {
    settings_file = found_beside(file, key, settings_file);
    return read("train", settings_file, preset, [&](Settings& settings) {
      files.declare(settings);
      config.declare(settings);
    });
  };
  maskcut_given = read("maskcut", file, preset, [&](Settings& settings) {
    maskcut.declare(settings);
    maskcut_outputs.declare(settings);
  });
  base_given = read_training("train-config", train_config, base);
  if (weights.empty()) weights = files.weights;
  entry = files.entry;
  if (rounds > 0) round_given = read_training("round-config", round_config, round);
  read("predict", file, "", [&](Settings& settings) {
    predict.declare(settings);
    predict_outputs.declare(settings);
  });
  bool self_training = true;
  read("merge", "", preset, [&](Settings& settings) { merge.declare(settings, &self_training); });
  const auto evaluate_given = read("eval", file, "", [&](Settings& settings) {
    evaluate.declare(settings);
    evaluate_outputs.declare(settings);
  });
  evaluate.ids_are_certain = std::count(evaluate_given.begin(), evaluate_given.end(), "match") > 0;
}

void SelfTrainConfig::use_preset(const std::string& name) {
  preset = name;
  usol::use_preset(maskcut, name, maskcut_given);
  usol::use_preset(base, name, base_given);
  usol::use_preset(round, name, round_given);
  usol::use_preset(merge, name, {});
}

}  // namespace usol
