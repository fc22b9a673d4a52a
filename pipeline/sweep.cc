#include "usol/pipeline/sweep.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "usol/eval/coco_eval.h"
#include "usol/eval/match_images.h"
#include "usol/io/atomic_file.h"
#include "usol/io/coco.h"
#include "usol/io/has_masks.h"
#include "usol/io/json_text.h"
#include "usol/io/origin.h"
#include "usol/io/output_folder.h"
#include "usol/pipeline/outputs.h"
#include "usol/pipeline/provenance.h"
#include "usol/pipeline/reading.h"
#include "usol/pipeline/sweep_detectors.h"
#include "usol/pipeline/sweep_masks.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol {
namespace {

constexpr const char *kResult = "sweep.json", *kCsv = "sweep.csv", *kMarkdown = "sweep.md";

bool is_of_maskcut(const std::string& key) {
  SettingsTable settings("sweep");
  MaskcutJob job;
  job.declare(settings, false);
  return settings.changes_results(key) || key == "weights" || key == "from-features";
}

std::vector<eval::SweepPoint> points_of(const SweepConfig& config) {
  std::vector<eval::SweepParameter> parameters;
  for (const std::string& text : config.parameters) parameters.push_back(eval::parse_sweep_parameter(text));
  return eval::sweep_points(parameters, config.one_at_a_time);
}

Json to_json(const SweepScore& score) {
  Json entry{{"name", score.point.name}, {"settings", Json::object()}};
  for (const auto& [key, value] : score.point.settings) entry["settings"][key] = value;
  entry["images"] = score.images;
  entry["objects"] = score.objects;
  for (const auto& [type, metrics] : score.metrics) entry["metrics"][type] = eval::metrics_json(metrics);
  return entry;
}

SweepScore score_of(const eval::SweepPoint& point, const io::AnnotationSet& objects) {
  return {point, objects.images.size(), objects.annotations.size(), {}};
}

// Without regard to classes, as MaskCut knows none.
std::map<std::string, eval::Metrics> score(const io::AnnotationSet& truth, io::AnnotationSet& masks) {
  eval::match_images(truth, masks);
  eval::CocoEvalOptions options;
  options.class_agnostic = true;
  std::map<std::string, eval::Metrics> metrics{
      {"box", eval::evaluate_coco(truth, masks, eval::IouType::kBox, options).metrics}};
  if (io::has_masks(truth)) metrics["mask"] = eval::evaluate_coco(truth, masks, eval::IouType::kMask, options).metrics;
  return metrics;
}

class Sweep {
 public:
  Sweep(const SweepConfig& config, const Run& run)
      : config_(config), run_(run), out_(config.out), maskcut_(config.maskcut), detectors_(run) {
    check(!config.out.empty(), ErrorKind::kUsage, "out is missing: the folder of all results");
    check(config.annotations.empty() || fs::exists(config.annotations), ErrorKind::kUsage, "{}: no such file",
          config.annotations);
    maskcut_.pictures = maskcut_.pictures.for_another_job();
    plan();
  }

  SweepResult run() {
    const auto report = maskcut_.pictures.report_at_end(run_);
    run_.by_leader([&] {
      check_outputs();
      return kSuccess;
    });
    check(run_.continues() || run_.replaces() || run_.dry_run || !fs::exists(out_ / kResult), ErrorKind::kExists,
          "{} exists", (out_ / kResult).string());
    read_truth();
    if (trains_) detectors_.check_data(!config_.masks.empty());
    SweepResult result;
    result.status = masks_->run();
    const auto may_go_on = [&] { return result.status == kSuccess || result.status == kSomeInputsFailed; };
    if (trains_ && may_go_on()) result.status = std::max(result.status, detectors_.run());
    if (!may_go_on() || run_.dry_run || !run_.leads()) return result;
    score_points(result);
    write_results(result);
    return result;
  }

 private:
  // The points' masks, and their detectors if there are any.
  void plan() {
    trains_ = config_.trains();
    points_ = points_of(config_);
    std::vector<eval::SweepPoint> of_masks = points_;
    if (trains_) {
      of_masks.clear();
      std::vector<std::string> files;
      for (const eval::SweepPoint& choice : points_) files.push_back(plan_masks(choice, of_masks));
      plan_detectors(files);
    } else {
      check(config_.masks.empty(), ErrorKind::kUsage, "train-masks are for parameters of a training");
    }
    masks_.emplace(run_, maskcut_, config_.maskcut_given, of_masks, out_);
  }

  // The file of the masks that a detector learns from; a point of MaskCut that makes it is added to `of_masks`.
  std::string plan_masks(const eval::SweepPoint& choice, std::vector<eval::SweepPoint>& of_masks) const {
    eval::SweepPoint point;
    for (const auto& setting : choice.settings)
      if (is_of_maskcut(setting.first)) point.settings.push_back(setting);
    point.name = point.settings.empty() ? "masks" : eval::sweep_name(point.settings);
    if (!config_.masks.empty()) {
      check(point.settings.empty(), ErrorKind::kUsage, "parameter {}: where masks are given there is no MaskCut",
            point.name);
      return config_.masks;
    }
    const fs::path file = out_ / point.name / "masks.json";
    if (std::none_of(of_masks.begin(), of_masks.end(), [&](const auto& other) { return other.name == point.name; }))
      of_masks.push_back(std::move(point));
    return file.string();
  }

  void plan_detectors(const std::vector<std::string>& masks) {
    SelfTrainConfig base = config_.detector;
    const InputOptions& inputs = maskcut_.inputs;
    base.preset = maskcut_.preset;
    base.image_root = !inputs.image_root.empty()  ? inputs.image_root
                      : inputs.inputs.size() == 1 ? inputs.inputs.front()
                                                  : "";
    check(fs::is_directory(base.image_root), ErrorKind::kUsage,
          "training needs the one folder of the pictures, as the input or image-root");
    check(!base.eval_annotations.empty() && !base.eval_image_root.empty(), ErrorKind::kUsage,
          "eval-annotations and eval-image-root are missing: what each detector is scored with");
    for (const auto& [name, file] : {std::pair{"round-config", base.round_config},
                                     {"train-weights", base.weights},
                                     {"train-masks", config_.masks},
                                     {"eval-annotations", base.eval_annotations}})
      check(file.empty() || fs::exists(file), ErrorKind::kUsage, "{} {}: no such file", name, file);
    detectors_.plan(base, points_, masks, out_);
  }

  // A folder of a point is ours if it has a file that we wrote.
  static bool is_ours(const fs::path& folder) {
    for (const char* name : {"masks.json", "metrics.json", "manifest.json", DetectorSweep::kSettings})
      if (fs::exists(folder / name) && io::written_by_usol(folder / name)) return true;
    return false;
  }

  void check_outputs() {
    Outputs outputs(run_, run_.existing == Existing::kRefuse ? Existing::kContinue : run_.existing);
    InputList inputs;
    if (!maskcut_.inputs.inputs.empty()) inputs = maskcut_.inputs.collect();
    outputs.reads(inputs);
    outputs.reads(maskcut_.inputs.inputs);
    const SelfTrainConfig& d = config_.detector;
    for (const std::string& path : {d.train_config, d.round_config, d.weights, config_.masks, d.eval_annotations,
                                    config_.annotations, maskcut_.features.weights})
      outputs.reads(path);
    outputs.folder("out", config_.out);
    outputs.file("out", (out_ / kResult).string());
    for (std::size_t p = 0; p < masks_->size(); ++p) {
      const fs::path folder = masks_->folder(p);
      outputs.own_folder(folder, is_ours(folder));
      for (const char* name : {"masks.json", "metrics.json"}) outputs.file("out", (folder / name).string());
    }
    for (const fs::path& folder : detectors_.folders()) {
      outputs.own_folder(folder, is_ours(folder));
      outputs.file("out", (folder / DetectorSweep::kSettings).string());
    }
    // The tables have no place to say whose they are; they are written with sweep.json.
    tables_ = std::make_unique<io::OutputFolder>(out_);
    const bool finished = fs::exists(out_ / kResult) && io::written_by_usol(out_ / kResult);
    for (const char* name : {kCsv, kMarkdown}) {
      check(finished || tables_->may_write(name), ErrorKind::kUsage,
            "out {}: {} was not written by usol and is in the way: move it away or choose another folder", config_.out,
            (out_ / name).string());
      if (finished && (run_.replaces() || run_.continues()) && !run_.dry_run) fs::remove(out_ / name);
    }
  }

  void read_truth() {
    if (config_.annotations.empty()) return;
    truth_ = io::read_coco(config_.annotations, maskcut_.reading());
    say_reading(run_, *truth_);
    eval::check_truth(*truth_, eval::IouType::kBox, {.class_agnostic = true});
    if (io::has_masks(*truth_)) eval::check_truth(*truth_, eval::IouType::kMask, {.class_agnostic = true});
  }

  void score_points(SweepResult& result) const {
    for (std::size_t p = 0; p < masks_->size(); ++p) {
      io::AnnotationSet masks = io::read_coco(masks_->folder(p) / "masks.json");
      SweepScore point = score_of(masks_->point(p), masks);
      if (truth_) {
        point.metrics = score(*truth_, masks);
        Json metrics = to_json(point)["metrics"];
        metrics["info"] = Json::parse(masks.info_json);
        io::write_file(masks_->folder(p) / "metrics.json", io::json_text(metrics, 1) + "\n");
      }
      if (!trains_) result.points.push_back(std::move(point));
    }
    if (!trains_) return;
    for (std::size_t p = 0; p < points_.size(); ++p) {
      const SelfTrainDetector& detector = detectors_.result(p);
      SweepScore point = score_of(points_[p], io::read_coco(detector.predictions));
      point.metrics = detector.scores;
      result.points.push_back(std::move(point));
    }
  }

  void write_results(const SweepResult& result) const {
    Json sweep;
    sweep["points"] = Json::array();
    for (const SweepScore& point : result.points) sweep["points"].push_back(to_json(point));
    sweep["info"] =
        make_info(run_, io::json_text(with_run_settings(Json::parse(settings_json(maskcut_, "sweep")), run_)),
                  masks_->weights_sha256());
    sweep["info"]["device"] = device_model(run_.device);
    const std::string table = eval::sweep_markdown(sweep);
    tables_->write(kCsv, eval::sweep_csv(sweep));
    tables_->write(kMarkdown, table);
    io::write_file(out_ / kResult, io::json_text(sweep, 1) + "\n");
    for (std::size_t start = 0; start < table.size();) {
      const std::size_t end = table.find('\n', start);
      run_.note("{}", table.substr(start, end - start));
      start = end + 1;
    }
    run_.note("wrote {}/sweep.json, sweep.csv, sweep.md", config_.out);
  }

  const SweepConfig& config_;
  const Run& run_;
  fs::path out_;
  MaskcutJob maskcut_;
  bool trains_ = false;  // the points are detectors
  std::vector<eval::SweepPoint> points_;
  std::optional<MaskSweep> masks_;  // ... of MaskCut, or those that make the detectors' masks
  DetectorSweep detectors_;
  std::optional<io::AnnotationSet> truth_;    // of masks
  std::unique_ptr<io::OutputFolder> tables_;  // for what is no JSON
};

}  // namespace

void SweepConfig::declare(Settings& settings) {
  maskcut.declare(settings, false);
  settings.group("The sweep");
  settings.add(
      "param KEY=VALUES", parameters,
      "A setting and its values: tau=0.1,0.15,0.2, or short-sides=[480,512],[600] where values are lists. Any option "
      "of usol maskcut or usol train that changes the result, or rounds; give it once for each setting. After "
      "detector=rcnn,solov2 a setting that only one of them has is varied as solov2:loss=supervised,freesolo; so are "
      "values for one alternative alone",
      OptionKind::kRun);
  settings.flag("one-at-a-time", one_at_a_time,
                "Vary each setting with the others as they are, instead of all combinations", OptionKind::kRun);
  settings.add("annotations FILE", annotations, "The truth, COCO JSON; without it masks are only counted",
               OptionKind::kRun);
  settings.add("out DIR", out, "Folder for the results", OptionKind::kRun);
  settings.group("Training (where an option of usol train, or rounds, varies)");
  settings.add("train-config FILE", detector.train_config, "Settings of usol train that points do not vary",
               OptionKind::kRun);
  settings.add("round-config FILE", detector.round_config, "Those of the rounds of self-training, for rounds=0,1,2,3",
               OptionKind::kRun);
  settings.add("train-weights FILE", detector.weights, "What each training starts from", OptionKind::kRun);
  settings.add("train-masks FILE", masks, "COCO file of the masks to learn, in place of MaskCut's", OptionKind::kRun);
  settings.add("eval-annotations FILE", detector.eval_annotations, "Truth to score each detector with",
               OptionKind::kRun);
  settings.add("eval-image-root DIR", detector.eval_image_root, "Its pictures", OptionKind::kRun);
}

bool SweepConfig::trains() const {
  bool trains = false;
  for (const std::string& text : parameters) {
    const std::string key = eval::parse_sweep_parameter(text).key;
    if (is_of_maskcut(key)) continue;
    const Json settings = Json::parse(settings_json(maskcut, "sweep"));
    std::vector<std::string> known;
    for (const auto& [name, value] : settings.items()) known.push_back(name);
    check(
        DetectorSweep::has(key), ErrorKind::kUsage,
        "parameter {}: expected an option of usol maskcut that changes the result: {}, weights; or one of usol train, "
        "or rounds",
        key, fmt::join(known, ", "));
    trains = true;
  }
  return trains;
}

SweepConfig SweepConfig::from_toml(const std::string& path) {
  SweepConfig config;
  config.maskcut_given = read_settings("sweep", path, "", [&](Settings& settings) { config.declare(settings); });
  if (config.trains()) config.read_detector(path);
  return config;
}

void SweepConfig::read_detector(const std::string& file, const ReadSettings& read) {
  SelfTrainConfig loop;
  read("self-train", file, "", [&](Settings& settings) { loop.declare(settings); });
  detector.thresholds = loop.thresholds;
  detector.detections = loop.detections;
  detector.pictures = loop.pictures;
  detector.preset = maskcut.preset;
  detector.rounds = 0;
  for (const eval::SweepPoint& point : points_of(*this))
    for (const auto& [key, value] : point.settings)
      if (key == "rounds" && value != "0") detector.rounds = 1;  // there are some, so that their settings are read
  detector.read_stages(file, read);
}

SweepResult sweep(const SweepConfig& config, const Run& run) { return Sweep(config, run).run(); }

}  // namespace usol
