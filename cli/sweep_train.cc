#include "usol/cli/sweep_train.h"

#include <algorithm>
#include <charconv>

#include "usol/cli/run_verb.h"
#include "usol/io/atomic_file.h"
#include "usol/pipeline/train_job.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

namespace usol::cli {
namespace {

std::int64_t parse_rounds(const std::string& text) {
  std::int64_t rounds = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), rounds);
  check(error == std::errc() && end == text.data() + text.size() && rounds >= 0 && rounds <= 100, ErrorKind::kUsage,
        "--param rounds: expected a whole number from 0 to 100, got '{}'", text);
  return rounds;
}

}  // namespace

void SweepTraining::declare(Options& options) {
  options.group("Training (with --param of an option of usol train, or rounds)");
  options.add("--train-config FILE", train_config_, "Settings of usol train that points do not vary", OptionKind::kRun);
  options.add("--round-config FILE", round_config_, "Those of the rounds of self-training, for --param rounds=0,1,2,3",
              OptionKind::kRun);
  options.add("--train-weights FILE", weights_, "What each training starts from", OptionKind::kRun);
  options.add("--train-masks FILE", masks_, "COCO file of the masks to learn, in place of MaskCut's", OptionKind::kRun);
  options.add("--eval-annotations FILE", eval_annotations_, "Truth to score each detector with", OptionKind::kRun);
  options.add("--eval-image-root DIR", eval_image_root_, "Its pictures", OptionKind::kRun);
}

bool SweepTraining::has(const std::string& key) const {
  static const nlohmann::ordered_json known = verb_settings("train", {});
  return key == "rounds" || (known.contains(key) && key != "deterministic");
}

void SweepTraining::plan(const Run& run, const std::vector<eval::SweepPoint>& points, const std::string& preset,
                         const std::vector<std::string>& masks, const std::vector<std::string>& inputs,
                         const std::string& image_root, const fs::path& out) {
  image_root_ = !image_root.empty() ? image_root : inputs.size() == 1 ? inputs.front() : "";
  check(fs::is_directory(image_root_), ErrorKind::kUsage,
        "training needs the one folder of the pictures, as the input or --image-root");
  check(!train_config_.empty(), ErrorKind::kUsage,
        "--train-config FILE is missing: the settings of usol train that points do not vary");
  check(!eval_annotations_.empty() && !eval_image_root_.empty(), ErrorKind::kUsage,
        "--eval-annotations FILE and --eval-image-root DIR are missing: what each detector is scored with");
  for (const auto& [name, file] : {std::pair{"train-config", train_config_},
                                   {"round-config", round_config_},
                                   {"train-weights", weights_},
                                   {"train-masks", masks_},
                                   {"eval-annotations", eval_annotations_}})
    check(file.empty() || fs::exists(file), ErrorKind::kUsage, "--{} {}: no such file", name, file);
  for (std::size_t p = 0; p < points.size(); ++p) {
    std::vector<std::pair<std::string, std::string>> kept;
    Detector detector;
    detector.masks = masks[p];
    detector.preset = preset;
    detector.seed = fmt::format("{}", run.seed);
    detector.precision = name_of(run.precision);
    detector.settings = {"--config", train_config_};
    for (const auto& [key, value] : points[p].settings) {
      if (key == "rounds") {
        detector.rounds = parse_rounds(value);
        continue;
      }
      kept.emplace_back(key, value);
      if (key == "preset" || key == "seed" || key == "precision") {  // of all of the detector's stages
        (key == "preset" ? detector.preset : key == "seed" ? detector.seed : detector.precision) = value;
      } else if (has(key)) {
        detector.settings.push_back(fmt::format("--{}={}", key, value));
      }
    }
    check(detector.rounds == 0 || !round_config_.empty(), ErrorKind::kUsage,
          "--round-config FILE is missing: the settings of the rounds of self-training");
    detector.settings.insert(detector.settings.end(),
                             {"--preset", detector.preset, "--seed", detector.seed, "--precision", detector.precision});
    verb_settings("train", detector.settings);
    detector.name = kept.empty() ? "detector" : eval::sweep_name(kept);
    detector.folder = out / detector.name;
    const auto same =
        std::find_if(detectors_.begin(), detectors_.end(), [&](const Detector& d) { return d.name == detector.name; });
    results_.push_back({static_cast<std::size_t>(same - detectors_.begin()), detector.rounds});
    if (same == detectors_.end()) {
      detectors_.push_back(std::move(detector));
    } else {
      same->rounds = std::max(same->rounds, detector.rounds);
    }
  }
}

void SweepTraining::check_data(const Run& run) const {
  TrainConfig evaluation;
  evaluation.eval_annotations = eval_annotations_;
  evaluation.eval_image_root = eval_image_root_;
  check_evaluation(run, evaluation);
  if (masks_.empty() || detectors_.empty()) return;
  const Detector& first = detectors_.front();  // they differ in what they make of the data
  Words words{"--annotations", masks_, "--image-root", image_root_, "--out", first.folder.string(), "--dry-run"};
  words.insert(words.end(), first.settings.begin(), first.settings.end());
  if (!weights_.empty()) words.insert(words.end(), {"--weights", weights_});
  run_verb("train", words, run.ranks);
}

int SweepTraining::run(const Run& run, const Options& options) const {
  int status = kSuccess;
  for (std::size_t i = 0; i < detectors_.size(); ++i) {
    const Detector& d = detectors_[i];
    run.note("detector {} of {}: {}", i + 1, detectors_.size(), d.name);
    if (run.dry_run) continue;
    const fs::path config = d.folder / kSettings;
    run.by_leader([&] {
      fs::create_directories(d.folder);
      io::write_file(config, verb_settings_file("train", d.settings));
      return kSuccess;
    });
    Words words{"--image-root",   image_root_,     "--annotations",      d.masks,           "--preset",
                d.preset,         "--out",         d.folder.string(),    "--rounds",        fmt::format("{}", d.rounds),
                "--train-config", config.string(), "--eval-annotations", eval_annotations_, "--eval-image-root",
                eval_image_root_};
    const Words common = common_words(options, {"seed", "precision"});
    words.insert(words.end(), common.begin(), common.end());
    words.insert(words.end(), {"--seed", d.seed, "--precision", d.precision});
    if (d.rounds > 0) words.insert(words.end(), {"--round-config", round_config_});
    if (!weights_.empty()) words.insert(words.end(), {"--weights", weights_});
    if (const std::string own = options.text("config"); !own.empty()) words.insert(words.end(), {"--config", own});
    if (run.continues()) words.push_back("--resume");
    if (run.replaces()) words.push_back("--force");
    const int of_point = run_verb("self-train", words, run.ranks);
    if (of_point != kSuccess && of_point != kSomeInputsFailed) return of_point;
    status = std::max(status, of_point);
  }
  return status;
}

fs::path SweepTraining::result(std::size_t i) const {
  const Result& r = results_[i];
  return detectors_[r.detector].folder / (r.rounds == 0 ? std::string("base") : fmt::format("round{}", r.rounds));
}

}  // namespace usol::cli
