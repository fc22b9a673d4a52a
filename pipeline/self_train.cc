#include "usol/pipeline/self_train.h"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <system_error>

#include "usol/io/atomic_file.h"
#include "usol/io/checkpoint_files.h"
#include "usol/io/json_text.h"
#include "usol/io/sha256.h"
#include "usol/io/wait.h"
#include "usol/pipeline/journal.h"
#include "usol/pipeline/outputs.h"
#include "usol/pipeline/provenance.h"
#include "usol/pipeline/train_job.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol {
namespace {

constexpr const char* kVersionKey = "usol_self_train";
constexpr int kManifestVersion = 1;

// The kinds of stages: what each declares is what its verb does, so that manifests and outputs say the same.

template <class Job, class Outputs>
struct ImageStage {
  static constexpr bool kGoesOn = true;
  Job job;
  Outputs outputs;

  void declare(Settings& settings) {
    job.declare(settings);
    outputs.declare(settings);
  }
  int run(const Run& run) { return job.run(run, outputs); }
};
struct MaskcutStage : ImageStage<MaskcutJob, MaskcutOutputs> {
  static constexpr const char* kVerb = "maskcut";
};
struct PredictStage : ImageStage<PredictJob, PredictOutputs> {
  static constexpr const char* kVerb = "predict";
};

struct TrainStage {
  static constexpr const char* kVerb = "train";
  static constexpr bool kGoesOn = true;
  TrainConfig config;
  TrainFiles files;

  void declare(Settings& settings) {
    files.declare(settings);
    config.declare(settings);
  }
  int run(const Run& run) { return run_training(run, config, files); }
};

struct MergeStage {
  static constexpr const char* kVerb = "merge";
  static constexpr bool kGoesOn = false;
  NextRoundConfig config;
  std::string out = {};
  bool self_training = true;

  void declare(Settings& settings) {
    config.declare(settings, &self_training);
    settings.add("out FILE", out, "The COCO file to write", OptionKind::kRun);
  }
  int run(const Run& run) { return make_next_round(run, config, out); }
};

struct EvaluateStage {
  static constexpr const char* kVerb = "eval";
  static constexpr bool kGoesOn = false;
  EvaluateConfig config;
  EvaluateOutputs outputs;

  void declare(Settings& settings) {
    config.declare(settings);
    outputs.declare(settings);
  }
  int run(const Run& run) { return write_evaluation(run, config, outputs); }
};

struct Stage : SelfTrainStage {
  std::function<int(const Run&)> work = {};
};

// What a run that was killed while it wrote a file has left (io/atomic_file.h).
void remove_torn_files(const fs::path& folder) {
  std::vector<fs::path> torn;
  for (const auto& entry : fs::directory_iterator(folder))
    if (io::is_temporary_name(entry.path().filename().string())) torn.push_back(entry.path());
  for (const fs::path& path : torn) fs::remove(path);
}

std::map<std::string, eval::Metrics> read_scores(const fs::path& file) {
  const Json metrics = Json::parse(io::read_text_file(file), nullptr, false);
  check(metrics.is_object(), ErrorKind::kFormat,
        "{}: no whole JSON object, got a damaged file; if it is removed, the detector is scored again", file.string());
  std::map<std::string, eval::Metrics> scores;
  for (const char* type : {"box", "mask"})
    if (metrics.contains(type))
      for (const auto& [name, value] : metrics[type].items()) scores[type].emplace_back(name, value.get<double>());
  return scores;
}

class Loop {
 public:
  Loop(const SelfTrainConfig& config, const Run& run) : config_(config), run_(run), out_(config.out) {
    check_files();
    plan();
  }

  SelfTrainResult run() {
    check_data();
    result_.stages.assign(stages_.begin(), stages_.end());
    if (run_.dry_run) return result_;
    const auto done_before = static_cast<std::size_t>(run_.by_leader([&] { return prepare(); }));
    for (std::size_t i = done_before; i < stages_.size(); ++i) {
      run_.throw_if_stopped();
      run_.note("stage {} of {}: {} (usol {})", i + 1, stages_.size(), stages_[i].name, stages_[i].verb);
      result_.status = run_stage(stages_[i]);
      if (result_.status != kSuccess && result_.status != kSomeInputsFailed) {
        if (result_.status > 128) run_.note("stopped in stage {}", stages_[i].name);
        return result_;
      }
      run_.by_leader([&] { return note_done(i, result_.status); });
    }
    run_.note("all {} stages are done; the last detector is {}", stages_.size(),
              result_.detectors.back().model.string());
    result_.status = run_.by_leader([&] {
      const auto failed = [](const Json& stage) { return stage["status"] != kSuccess; };
      return std::any_of(done_.begin(), done_.end(), failed) ? kSomeInputsFailed : kSuccess;
    });
    if (run_.leads())
      for (SelfTrainDetector& detector : result_.detectors)
        if (!detector.metrics.empty()) detector.scores = read_scores(detector.metrics);
    return result_;
  }

 private:
  // ---- the plan

  void check_files() const {
    const SelfTrainConfig& c = config_;
    check(!c.out.empty(), ErrorKind::kUsage, "out is missing: the folder of all stages");
    check(fs::is_directory(c.image_root), ErrorKind::kUsage, "image-root {}: expected the folder of the pictures",
          c.image_root);
    check(c.eval_annotations.empty() == c.eval_image_root.empty(), ErrorKind::kUsage,
          "eval-annotations and eval-image-root go together");
    check(!c.thresholds.empty(), ErrorKind::kUsage, "thresholds: expected at least one score");
    for (const auto& [name, file] : {std::pair{"annotations", c.annotations},
                                     {"weights", c.weights},
                                     {"maskcut-weights", c.maskcut_weights},
                                     {"eval-annotations", c.eval_annotations}})
      check(file.empty() || fs::exists(file), ErrorKind::kUsage, "{} {}: no such file", name, file);
    check(c.annotations.empty() || c.maskcut_weights.empty(), ErrorKind::kUsage,
          "maskcut-weights are for runs without annotations");
  }

  void plan() {
    fs::path masks = config_.annotations;
    if (masks.empty()) {
      masks = out_ / "masks" / "masks.json";
      add_masks("masks", masks);
    }
    fs::path model = config_.weights;
    add_training("base", config_.base, config_.train_config, masks, model);
    for (std::int64_t round = 1; round <= config_.rounds; ++round) {
      const std::string name = fmt::format("round{}", round);
      const std::size_t last = config_.thresholds.size();
      const double threshold = config_.thresholds[std::min(static_cast<std::size_t>(round), last) - 1];
      const fs::path found = out_ / name / "predict" / "predictions.json",
                     merged = out_ / name / "merge" / "masks.json";
      // Somewhat more than is kept, so that another threshold can be tried by hand.
      add_prediction(name + "/predict", masks, config_.image_root, model, found, threshold / 2, config_.detections);
      add_merge(name + "/merge", masks, found, merged, threshold);
      masks = merged;
      add_training(name, config_.round, config_.round_config, masks, model);
    }
  }

  // All stages must read the same pixels; each says its own warnings.
  PictureOptions same_pixels(const PictureOptions& own) const {
    PictureOptions pictures = own.for_another_job();
    if (config_.pictures.scale_16bit) pictures.scale_16bit = true;
    if (config_.pictures.max_pixels != PictureOptions().max_pixels) pictures.max_pixels = config_.pictures.max_pixels;
    return pictures;
  }

  void add_masks(const std::string& name, const fs::path& out) {
    const MaskcutStage own{{config_.maskcut, config_.maskcut_outputs}};
    add(name, own, {}, out, [&](MaskcutStage& stage) {
      stage.job.inputs.inputs = {config_.image_root};
      stage.job.preset = config_.preset;
      if (!config_.maskcut_weights.empty()) stage.job.features.weights = config_.maskcut_weights;
      stage.job.pictures = same_pixels(stage.job.pictures);
      stage.outputs.coco = out.string();
    });
  }

  // Trains on from `model`, which becomes its own, and evaluates it.
  void add_training(const std::string& name, const TrainConfig& own, const std::string& settings_file,
                    const fs::path& masks, fs::path& model) {
    const fs::path folder = out_ / name / "train";
    add(name + "/train", TrainStage{own, {}}, settings_file, folder / kFinalModel, [&](TrainStage& stage) {
      stage.config.preset = config_.preset;
      stage.config.pictures = same_pixels(own.pictures);
      stage.files = {masks.string(), config_.image_root, model.string(), folder.string()};
      if (model == config_.weights) stage.files.entry = config_.entry;
    });
    model = folder / kFinalModel;
    result_.detectors.push_back({name, masks, model, {}, {}});
    if (config_.eval_annotations.empty()) return;
    const fs::path found = out_ / name / "eval-predict" / "predictions.json";
    const fs::path metrics = out_ / name / "eval" / "metrics.json";
    add_prediction(name + "/eval-predict", config_.eval_annotations, config_.eval_image_root, model, found, 0,
                   config_.predict.most);
    add_evaluation(name + "/eval", found, metrics, own.detector.chosen().finds_masks());
    result_.detectors.back().predictions = found;
    result_.detectors.back().metrics = metrics;
  }

  void add_prediction(const std::string& name, const fs::path& pictures, const std::string& image_root,
                      const fs::path& model, const fs::path& out, double score, std::int64_t most) {
    add(name, PredictStage{{config_.predict, config_.predict_outputs}}, {}, out, [&](PredictStage& stage) {
      stage.job.inputs = {{pictures.string()}, image_root};
      stage.job.weights = model.string();
      stage.job.score = score;
      stage.job.most = most;
      stage.job.pictures = same_pixels(stage.job.pictures);
      stage.outputs.coco = out.string();
    });
  }

  void add_merge(const std::string& name, const fs::path& masks, const fs::path& found, const fs::path& out,
                 double threshold) {
    add(name, MergeStage{config_.merge}, {}, out, [&](MergeStage& stage) {
      stage.config.previous = masks.string();
      stage.config.predictions = found.string();
      stage.config.score = threshold;
      stage.config.preset = config_.preset;
      stage.out = out.string();
    });
  }

  void add_evaluation(const std::string& name, const fs::path& found, const fs::path& out, bool masks) {
    add(name, EvaluateStage{config_.evaluate, config_.evaluate_outputs}, {}, out, [&](EvaluateStage& stage) {
      stage.config.truth = config_.eval_annotations;
      stage.config.predictions = found.string();
      stage.config.class_agnostic = true;
      if (!masks) stage.config.box_only = true;
      stage.config.pictures = stage.config.pictures.for_another_job();
      stage.outputs.metrics = out.string();
    });
  }

  // A stage of these settings and what `decide` makes of them.
  template <class Job, class Decide>
  void add(const std::string& name, Job own, const std::string& settings_file, const fs::path& output,
           const Decide& decide) {
    const auto job = std::make_shared<Job>(own);
    decide(*job);
    SettingsTable before(Job::kVerb), now(Job::kVerb);
    own.declare(before);
    job->declare(now);
    Stage stage;
    stage.name = name;
    stage.verb = Job::kVerb;
    stage.output = output;
    stage.settings_file = settings_file;
    stage.decided = now.changes_from(before);
    stage.settings_json = io::json_text(with_run_settings(now.settings(), run_));
    stage.goes_on = Job::kGoesOn;
    stage.work = [job](const Run& run) {
      if (Job::kGoesOn) return job->run(run);  // with all processes
      return run.by_leader([&] {
        Run alone = run;
        alone.ranks = nullptr;
        return job->run(alone);
      });
    };
    stages_.push_back(std::move(stage));
  }

  // ---- before the first stage

  // What the stages would find out hours later: pictures and annotations of the first training, the truth of all
  // evaluations.
  void check_data() const {
    if (!config_.eval_annotations.empty()) {
      TrainConfig evaluation;
      evaluation.detector = config_.base.detector;
      evaluation.pictures = config_.pictures.for_another_job();
      evaluation.pictures.exif = config_.predict.pictures.exif;
      evaluation.eval_annotations = config_.eval_annotations;
      evaluation.eval_image_root = config_.eval_image_root;
      check_evaluation(run_, evaluation);
    }
    if (config_.annotations.empty()) return;
    const Stage& first = stages_.front();  // the training, as there are masks
    Run dry = run_of(first);
    dry.dry_run = true;
    dry.existing = Existing::kRefuse;
    work_on(first, dry);
  }

  // The folder and its manifest, by one process for all. Returns how many stages are done.
  int prepare() {
    info_ =
        make_info(run_, io::json_text(with_run_settings(Json::parse(usol::settings_json(config_, "self-train")), run_)),
                  config_.weights.empty() ? "" : io::checkpoint_sha256(config_.weights));
    for (const auto& [key, file] : {std::pair{"annotations_sha256", config_.annotations},
                                    {"maskcut_weights_sha256", config_.maskcut_weights},
                                    {"eval_annotations_sha256", config_.eval_annotations}})
      if (!file.empty()) info_[key] = io::sha256_file(file);
    check_outputs();
    if (run_.replaces()) {
      for (const Stage& stage : stages_) remove_stage(stage);
      remove_output(manifest());
    }
    const std::size_t done = fs::exists(manifest()) ? read_manifest() : 0;
    fs::create_directories(out_);
    remove_torn_files(out_);
    write_manifest();
    return static_cast<int>(done);
  }

  // The manifest is written before anything else, so without one no folder of a stage is ours.
  void check_outputs() const {
    Outputs outputs(run_, run_.existing == Existing::kRefuse ? Existing::kContinue : run_.existing);
    for (const std::string& path : {config_.annotations, config_.weights, config_.maskcut_weights,
                                    config_.eval_annotations, config_.train_config, config_.round_config})
      outputs.reads(path);
    outputs.folder("out", config_.out);
    outputs.file("out", manifest().string());
    const bool began = fs::exists(manifest());
    check(run_.continues() || run_.replaces() || !began, ErrorKind::kExists, "{} exists", manifest().string());
    for (const Stage& stage : stages_) {
      outputs.own_folder(out_ / stage.name, began);
      outputs.file("out", stage.output.string());
    }
  }

  // Its outputs, and its folder if nothing else is in it.
  void remove_stage(const Stage& stage) const {
    const fs::path folder = out_ / stage.name;
    if (!fs::exists(folder)) return;
    if (stage.verb == TrainStage::kVerb) {
      remove_training(folder);
    } else {
      remove_output(stage.output);
      std::vector<fs::path> journals;
      const std::string start = stage.output.filename().string() + ".";
      for (const auto& entry : fs::directory_iterator(folder)) {
        const std::string name = entry.path().filename().string();
        if (name.starts_with(start) && name.ends_with(".journal")) journals.push_back(entry.path());
      }
      for (const fs::path& path : journals) remove_output(path);
    }
    std::error_code not_empty;
    fs::remove(folder, not_empty);
    fs::remove(folder.parent_path(), not_empty);
  }

  // ---- the manifest

  fs::path manifest() const { return out_ / "manifest.json"; }

  int note_done(std::size_t i, int status) {
    Json stage = head(stages_[i]);
    stage["status"] = status;
    stage["output"] = fs::relative(stages_[i].output, out_).generic_string();
    stage["sha256"] = io::sha256_file(stages_[i].output);
    done_.push_back(std::move(stage));
    write_manifest();
    return 0;
  }

  // What a stage is, before it is done.
  static Json head(const Stage& stage) {
    return {{"name", stage.name}, {"verb", stage.verb}, {"settings", Json::parse(stage.settings_json)}};
  }

  // From the start on, so that a folder in which something was begun is known.
  void write_manifest() const {
    const Json content = {{kVersionKey, kManifestVersion}, {"info", info_}, {"stages", done_}};
    io::write_file(manifest(), io::json_text(content, 1) + "\n");
  }

  // Takes over the stages that are done; returns how many.
  std::size_t read_manifest() {
    const std::string path = manifest().string();
    const Json was = Json::parse(io::read_text_file(manifest()), nullptr, false);
    check(was.is_object() && was.contains(kVersionKey), ErrorKind::kFormat, "{}: is no manifest of a self-training",
          path);
    check(was[kVersionKey] == kManifestVersion, ErrorKind::kOtherVersion,
          "{} was written by another version of usol: expected a manifest of version {}, got {}", path,
          kManifestVersion, io::json_text(was[kVersionKey]));
    check(was.contains("info") && was.contains("stages") && was["stages"].is_array(), ErrorKind::kFormat,
          "{}: is no manifest of a self-training", path);
    const std::string changed = describe_differences(was["info"], info_);
    check(changed.empty(), ErrorKind::kOtherSettings, "{} was made with other settings: {}", path, changed);
    for (const Json& stage : was["stages"]) {
      const std::size_t i = done_.size();
      if (i >= stages_.size() || !fs::exists(stages_[i].output)) break;
      check(stage.is_object() && stage.contains("settings") && stage["settings"].is_object(), ErrorKind::kOtherVersion,
            "{} was written by another version of usol: stage {}: expected its settings as an object", path, i + 1);
      Json before = stage;
      for (const char* key : {"status", "output", "sha256"}) before.erase(key);
      const std::string differs = describe_differences(before, head(stages_[i]));
      check(differs.empty(), ErrorKind::kOtherSettings, "stage {} was made with other settings: {}", stages_[i].name,
            differs);
      require_as_made(stages_[i], stage);
      done_.push_back(stage);
    }
    return done_.size();
  }

  // What the next stages read must be what the stage wrote, and no file that was torn or changed since.
  static void require_as_made(const Stage& stage, const Json& done) {
    const std::string expected = done.value("sha256", ""), got = io::sha256_file(stage.output);
    check(expected == got, ErrorKind::kFormat,
          "{} is damaged or was changed after stage {} had made it: expected SHA-256 {}, got {}; if it is removed, the "
          "stage is made again",
          stage.output.string(), stage.name, expected, got);
  }

  // ---- a stage

  // How it is done, as if its verb had been called alone.
  Run run_of(const Stage& stage) const {
    Run run = run_;
    run.made_by = "usol " + stage.verb;
    run.settings_json = stage.settings_json;
    run.existing = stage.goes_on ? Existing::kContinue : Existing::kReplace;
    if (!stage.settings_file.empty()) run.also_read.push_back(stage.settings_file);
    return run;
  }

  int run_stage(const Stage& stage) const {
    run_.by_leader([&] {
      const fs::path folder = stage.output.parent_path();
      fs::create_directories(folder);
      remove_torn_files(folder);
      return 0;
    });
    return work_on(stage, run_of(stage));
  }

  // Throws what the stage throws, with its name.
  static int work_on(const Stage& stage, const Run& run) {
    try {
      return stage.work(run);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kInterrupted) throw;
      fail(error.kind(), fmt::format("stage {}: {}", stage.name, error.what()));
    }
  }

  const SelfTrainConfig& config_;
  const Run& run_;
  fs::path out_;
  std::vector<Stage> stages_;
  Json info_, done_ = Json::array();
  SelfTrainResult result_;
};

}  // namespace

SelfTrainResult self_train(const SelfTrainConfig& config, const Run& run) { return Loop(config, run).run(); }

}  // namespace usol
