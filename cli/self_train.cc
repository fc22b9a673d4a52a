// usol self-train: the whole loop in one command. Each stage is a verb with the arguments that a user would give it, in
// a folder of its own; DIR/manifest.json says which are done. Source: Wang et al. 2023 (CutLER), section 3.4.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "usol/cli/run_verb.h"
#include "usol/cli/signals.h"
#include "usol/cli/verb.h"
#include "usol/io/atomic_file.h"
#include "usol/io/checkpoint_files.h"
#include "usol/io/sha256.h"
#include "usol/io/wait.h"
#include "usol/pipeline/journal.h"
#include "usol/pipeline/outputs.h"
#include "usol/pipeline/picture_options.h"
#include "usol/pipeline/provenance.h"
#include "usol/pipeline/train_job.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

namespace usol::cli {
namespace {

// How pictures are read, as words of a command line, but for what is the default.
Words picture_words(const PictureOptions& pictures) {
  Words words;
  if (pictures.scale_16bit) words.push_back("--scale-16bit");
  if (pictures.max_pixels != io::DecodeOptions().max_pixels)
    words.insert(words.end(), {"--max-pixels", fmt::format("{}", pictures.max_pixels)});
  return words;
}

struct Stage {
  std::string name;  // its folder below DIR
  std::string verb;
  Words words;      // but for those that all stages get
  fs::path output;  // what the next stages read
};

class SelfTrainVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "The whole method: MaskCut (if no annotations are given) -> a detector, trained with DropLoss -> rounds of "
        "self-training, each of which predicts on the training pictures, merges what was found with the masks of "
        "before, and trains on from the last weights. Every stage is a verb of usol and has a folder of its own below "
        "DIR; DIR/manifest.json says which are done. A run that was interrupted goes on in the stage it was in with "
        "--resume; --resume with more --rounds adds rounds to a finished run. Processes that mpirun or srun started "
        "together share masks, trainings and predictions.");
    options.about(
        "Settings of stages: --train-config and --round-config are files for usol train; the sections [maskcut], "
        "[predict] and [eval] of --config are read by those verbs.");
    options.preset(preset_, {{"paper", {}}, {"release", {}}}, "Of all stages");
    options.group("Files");
    options.add("--image-root DIR", image_root_, "The training pictures", OptionKind::kRun);
    options.add("--annotations FILE", annotations_, "COCO file with masks to begin with. Without it, MaskCut makes one",
                OptionKind::kRun);
    options.add("--weights FILE", weights_, "What the first training starts from, such as DINO's ResNet-50",
                OptionKind::kRun);
    options.add("--maskcut-weights FILE", maskcut_weights_, "DINO's ViT, for MaskCut", OptionKind::kRun);
    options.add("--eval-annotations FILE", eval_annotations_, "Truth to evaluate each round's detector with",
                OptionKind::kRun);
    options.add("--eval-image-root DIR", eval_image_root_, "Its pictures", OptionKind::kRun);
    options.add("--out DIR", out_, "Folder of all stages", OptionKind::kRun);
    pictures_.declare(options, false);
    options.group("Rounds");
    options.add("--rounds N", rounds_, "Rounds after the first training", OptionKind::kRun).between(0, 100);
    options
        .add("--thresholds SCORE,...", thresholds_,
             "Score from which predictions are kept, round by round; the last one for all others")
        .between(0, 1);
    options.add("--detections N", detections_, "Predictions per training picture").at_least(1);
    options.add("--train-config FILE", train_config_,
                "The first training; looked up beside --config, too, if it is not found", OptionKind::kRun);
    options.add("--round-config FILE", round_config_, "The trainings of the rounds; likewise", OptionKind::kRun);
    options.example(
        "usol self-train --config configs/self_train.toml --image-root train --annotations masks.json --weights "
        "dino_rn50.pth --out run --eval-annotations val.json --eval-image-root val",
        "The paper's three rounds, each evaluated");
    options.example("usol self-train --config configs/self_train.toml ... --out run --resume",
                    "Goes on after an interruption");
  }

  int run(const Run& run, const Options& options) override {
    check_files();
    config_ = options.text("config");
    common_words_ = common_words(options);
    plan();
    // Wrong settings of the last stage are found before the first one.
    for (const Stage& stage : stages_) settings_.push_back(verb_settings(stage.verb, stage.words));
    check_data(run);
    if (run.dry_run) return show_plan(run);
    const auto done_before = static_cast<std::size_t>(run.by_leader([&] { return prepare(run); }));
    for (std::size_t i = done_before; i < stages_.size(); ++i) {
      run.throw_if_stopped();
      run.note("stage {} of {}: {} (usol {})", i + 1, stages_.size(), stages_[i].name, stages_[i].verb);
      const int status = run_stage(run, stages_[i]);
      if (status != kSuccess && status != kSomeInputsFailed) {
        if (status > 128) run.note("stopped in stage {}; --resume goes on", stages_[i].name);
        return status;
      }
      run.by_leader([&] { return note_done(i, status); });
    }
    run.note("all {} stages are done; the last detector is {}", stages_.size(), model_.string());
    return run.by_leader([&] {
      const auto failed = [](const Json& stage) { return stage["status"] != kSuccess; };
      return std::any_of(done_.begin(), done_.end(), failed) ? kSomeInputsFailed : kSuccess;
    });
  }
  bool shares_work() const override { return true; }

 private:
  void check_files() {
    check(!out_.empty(), ErrorKind::kUsage, "--out DIR is missing");
    check(fs::is_directory(image_root_), ErrorKind::kUsage, "--image-root {}: expected the folder of the pictures",
          image_root_);
    check(eval_annotations_.empty() == eval_image_root_.empty(), ErrorKind::kUsage,
          "--eval-annotations and --eval-image-root go together");
    check(!thresholds_.empty(), ErrorKind::kUsage, "--thresholds: expected at least one score");
    for (const auto& [name, file] : {std::pair{"annotations", annotations_},
                                     {"weights", weights_},
                                     {"maskcut-weights", maskcut_weights_},
                                     {"eval-annotations", eval_annotations_}})
      check(file.empty() || fs::exists(file), ErrorKind::kUsage, "--{} {}: no such file", name, file);
    check(annotations_.empty() || maskcut_weights_.empty(), ErrorKind::kUsage,
          "--maskcut-weights is for runs without --annotations");
  }

  // The file as given, or beside --config.
  std::string settings_file(const std::string& key, const std::string& file) const {
    check(!file.empty(), ErrorKind::kUsage, "--{} FILE is missing: a settings file of usol train", key);
    const fs::path beside = fs::path(config_).parent_path() / file;
    check(fs::exists(file) || fs::exists(beside), ErrorKind::kUsage, "--{} {}: no such file", key, file);
    return fs::exists(file) ? file : beside.string();
  }

  void plan() {
    const fs::path out = out_;
    const std::string first = settings_file("train-config", train_config_);
    const std::string later = rounds_ > 0 ? settings_file("round-config", round_config_) : "";
    if (!config_.empty()) own_config_ = {"--config", config_};
    fs::path masks = annotations_;
    if (annotations_.empty()) {
      masks = out / "masks" / "masks.json";
      Words words{image_root_, "--out", masks.string(), "--preset", preset_};
      if (!maskcut_weights_.empty()) words.insert(words.end(), {"--weights", maskcut_weights_});
      add({"masks", "maskcut", words, masks}, own_config_);
    }
    model_ = weights_;
    add_training("base", first, masks);
    for (std::int64_t round = 1; round <= rounds_; ++round) {
      const std::string name = fmt::format("round{}", round);
      const double threshold = thresholds_[std::min(static_cast<std::size_t>(round), thresholds_.size()) - 1];
      const fs::path found = out / name / "predict" / "predictions.json", merged = out / name / "merge" / "masks.json";
      // Somewhat more than is kept, so that another threshold can be tried by hand.
      add_prediction(name + "/predict", masks, image_root_, found, threshold / 2, detections_);
      add({name + "/merge",
           "merge",
           {"--self-training", "--previous", masks.string(), "--predictions", found.string(), "--score",
            fmt::format("{}", threshold), "--preset", preset_, "--out", merged.string(), "--force"},
           merged});
      masks = merged;
      add_training(name, later, masks);
    }
  }

  void add_training(const std::string& name, const std::string& config, const fs::path& masks) {
    const fs::path folder = fs::path(out_) / name / "train";
    Words words{"--config",     config,         "--preset",  preset_, "--annotations",
                masks.string(), "--image-root", image_root_, "--out", folder.string()};
    if (!model_.empty()) words.insert(words.end(), {"--weights", model_.string()});
    model_ = folder / kFinalModel;
    add({name + "/train", "train", words, model_});
    if (eval_annotations_.empty()) return;
    const fs::path found = fs::path(out_) / name / "eval-predict" / "predictions.json";
    const fs::path metrics = fs::path(out_) / name / "eval" / "metrics.json";
    add_prediction(name + "/eval-predict", eval_annotations_, eval_image_root_, found, 0);
    add({name + "/eval",
         "eval",
         {"--gt", eval_annotations_, "--pred", found.string(), "--class-agnostic", "--out", metrics.string(),
          "--force"},
         metrics},
        own_config_);
  }

  void add_prediction(const std::string& name, const fs::path& pictures, const std::string& image_root,
                      const fs::path& out, double score, std::int64_t most = 0) {
    Words words{pictures.string(), "--image-root",           image_root, "--weights", model_.string(),
                "--score",         fmt::format("{}", score), "--out",    out.string()};
    if (most > 0) words.insert(words.end(), {"--most", fmt::format("{}", most)});
    add({name, "predict", words, out}, own_config_);
  }

  // Stages that can go on always do; the others are short and made anew.
  void add(Stage stage, const Words& more = {}) {
    Words& words = stage.words;
    // All stages must read the same pixels.
    if (stage.verb != "merge" && stage.verb != "eval") {
      const Words reading = picture_words(pictures_);
      words.insert(words.end(), reading.begin(), reading.end());
    }
    words.insert(words.end(), more.begin(), more.end());
    words.insert(words.end(), common_words_.begin(), common_words_.end());
    if (std::find(words.begin(), words.end(), "--force") == words.end()) words.push_back("--resume");
    stages_.push_back(std::move(stage));
  }

  // What the stages would find out hours later: pictures and annotations of the first training, the truth of all
  // evaluations.
  void check_data(const Run& run) const {
    if (!eval_annotations_.empty()) {
      TrainConfig evaluation;
      evaluation.pictures = pictures_;
      evaluation.eval_annotations = eval_annotations_;
      evaluation.eval_image_root = eval_image_root_;
      for (std::size_t i = 0; i < stages_.size(); ++i)
        if (stages_[i].name == "base/eval-predict") evaluation.pictures.exif = settings_[i].at("exif");
      check_evaluation(run, evaluation);
    }
    if (annotations_.empty()) return;
    for (const Stage& stage : stages_) {
      if (stage.name != "base/train") continue;
      Words words = stage.words;
      std::erase(words, "--resume");
      words.push_back("--dry-run");
      run_stage(run, {stage.name, stage.verb, words, {}});
    }
  }

  int show_plan(const Run& run) const {
    for (const Stage& stage : stages_)
      run.note("{:<20} usol {} {}", stage.name, stage.verb, fmt::join(stage.words, " "));
    return kSuccess;
  }

  // The folder and its manifest, by one process for all. Returns how many stages are done.
  int prepare(const Run& run) {
    info_ = make_info(run, "{}", weights_.empty() ? "" : io::checkpoint_sha256(weights_));
    for (const auto& [key, file] : {std::pair{"annotations_sha256", annotations_},
                                    {"maskcut_weights_sha256", maskcut_weights_},
                                    {"eval_annotations_sha256", eval_annotations_}})
      if (!file.empty()) info_[key] = io::sha256_file(file);
    check_outputs(run);
    if (run.replaces()) {
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
  void check_outputs(const Run& run) const {
    Outputs outputs(run, run.existing == Existing::kRefuse ? Existing::kContinue : run.existing);
    for (const std::string& path :
         {annotations_, weights_, maskcut_weights_, eval_annotations_, train_config_, round_config_})
      outputs.reads(path);
    for (const std::string& file : {train_config_, round_config_})
      outputs.reads((fs::path(config_).parent_path() / file).string());  // where they may be, too
    outputs.folder("--out", out_);
    outputs.file("--out", manifest().string());
    const bool began = fs::exists(manifest());
    check(run.continues() || run.replaces() || !began, ErrorKind::kExists, "{} exists", manifest().string());
    for (const Stage& stage : stages_) {
      outputs.own_folder(fs::path(out_) / stage.name, began);
      outputs.file("--out", stage.output.string());
    }
  }

  // Its outputs, and its folder if nothing else is in it.
  void remove_stage(const Stage& stage) const {
    const fs::path folder = fs::path(out_) / stage.name;
    if (!fs::exists(folder)) return;
    if (stage.verb == "train") {
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

  int note_done(std::size_t i, int status) {
    done_.push_back({{"name", stages_[i].name},
                     {"verb", stages_[i].verb},
                     {"settings", settings_[i]},
                     {"status", status},
                     {"output", fs::relative(stages_[i].output, out_).generic_string()},
                     {"sha256", io::sha256_file(stages_[i].output)}});
    write_manifest();
    return 0;
  }

  fs::path manifest() const { return fs::path(out_) / "manifest.json"; }

  // From the start on, so that a folder in which something was begun is known.
  void write_manifest() const {
    const Json content = {{"usol_self_train", 1}, {"info", info_}, {"stages", done_}};
    io::write_file(manifest(), content.dump(1) + "\n");
  }

  // Takes over the stages that are done; returns how many.
  std::size_t read_manifest() {
    const fs::path path = manifest();
    const Json was = Json::parse(io::read_text_file(path), nullptr, false);
    check(was.is_object() && was.contains("info") && was.contains("stages") && was["stages"].is_array(),
          ErrorKind::kFormat, "{}: is no manifest of usol self-train", path.string());
    const std::string changed = describe_differences(was["info"], info_);
    check(changed.empty(), ErrorKind::kUsage, "--resume: {} was made with other settings: {}", path.string(), changed);
    for (const Json& stage : was["stages"]) {
      const std::size_t i = done_.size();
      if (i >= stages_.size() || !fs::exists(stages_[i].output)) break;
      Json now = {{"name", stages_[i].name}, {"verb", stages_[i].verb}, {"settings", settings_[i]}};
      Json before = stage;
      for (const char* key : {"status", "output", "sha256"}) before.erase(key);
      const std::string differs = describe_differences(before, now);
      check(differs.empty(), ErrorKind::kUsage, "--resume: stage {} was made with other settings: {}", stages_[i].name,
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
          "--resume: {} is damaged or was changed after stage {} had made it: expected SHA-256 {}, got {}; if it is "
          "removed, the stage is made again",
          stage.output.string(), stage.name, expected, got);
  }

  // Throws what the verb throws, with the stage's name.
  int run_stage(const Run& run, const Stage& stage) const {
    if (!stage.output.empty())
      run.by_leader([&] {
        const fs::path folder = stage.output.parent_path();
        fs::create_directories(folder);
        remove_torn_files(folder);
        return 0;
      });
    try {
      return run_verb(stage.verb, stage.words, run.ranks);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kInterrupted) throw;
      fail(error.kind(), fmt::format("stage {}: {}", stage.name, error.what()));
    }
  }

  // What a run that was killed while it wrote a file has left (io/atomic_file.h).
  static void remove_torn_files(const fs::path& folder) {
    std::vector<fs::path> torn;
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      if (io::is_temporary_name(name)) torn.push_back(entry.path());
    }
    for (const auto& path : torn) fs::remove(path);
  }

  PictureOptions pictures_;
  std::string preset_ = "paper", image_root_, annotations_, weights_, maskcut_weights_, eval_annotations_,
              eval_image_root_, out_, train_config_, round_config_;
  std::vector<double> thresholds_{0.7, 0.65};
  std::int64_t rounds_ = 3, detections_ = 30;
  fs::path model_;      // the newest one, while planning
  std::string config_;  // the file of --config
  Words common_words_;  // the options that all stages get
  Words own_config_;    // --config, for stages whose settings are sections of it
  std::vector<Stage> stages_;
  std::vector<Json> settings_;
  Json info_, done_ = Json::array();
};

const RegisterVerb<SelfTrainVerb> kSelfTrain("self-train",
                                             "the whole loop: masks, a detector, rounds of self-training");

}  // namespace
}  // namespace usol::cli
