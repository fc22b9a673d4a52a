#include "cli/train_job.h"

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>
#include <vector>

#include "cli/journal.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "io/checkpoint.h"
#include "io/key_map.h"
#include "io/safetensors.h"
#include "io/sha256.h"
#include "models/rcnn/rcnn.h"
#include "tensor/check.h"
#include "train/checkpoint.h"
#include "train/loader.h"
#include "train/metrics.h"
#include "train/precise_bn.h"
#include "train/trainer.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol {
namespace {

constexpr const char* kInfo = "info";  // keys of a checkpoint's metadata
constexpr const char* kOpenLine = "metrics";
constexpr const char* kDue = "due";
constexpr const char* kMetrics = "metrics.json";

void check_files(const Common& common, const TrainFiles& files, const train::CheckpointFolder& checkpoints) {
  check(!files.out.empty(), ErrorKind::kUsage, "--out DIR is missing");
  check(!files.annotations.empty(), ErrorKind::kUsage, "--annotations FILE is missing: a COCO file with masks");
  check(!files.image_root.empty(), ErrorKind::kUsage, "--image-root DIR is missing: the folder of the pictures");
  for (const std::string& file : {files.annotations, files.weights})
    check(file.empty() || fs::exists(file), ErrorKind::kUsage, "{}: no such file", file);
  const fs::path folder = files.out;
  check(!fs::exists(folder) || fs::is_directory(folder), ErrorKind::kUsage, "--out {} is no folder", files.out);
  const bool exists = checkpoints.newest() || fs::exists(folder / kFinalModel) || fs::exists(folder / kMetrics);
  check(!exists || common.resume || common.force || common.dry_run, ErrorKind::kUsage,
        "{} holds a training; --resume goes on with it, --force starts anew", files.out);
}

void start_from_weights(const Common& common, const std::string& weights, ParamStore& store) {
  StateDict state = load_checkpoint(weights).tensors;
  if (state.contains("layer1.0.conv1.weight")) resnet_to_detectron2(state, "backbone.bottom_up.");
  const train::StartReport report = train::start_from(store, state, weights);
  common.note("{}: {} of the detector's {} tensors; {} start anew", weights, report.loaded.size(), store.names().size(),
              report.fresh.size());
  for (const auto& text : report.mismatched) common.warn("{}: {}", weights, text);
  for (const auto& name : report.fresh) common.detail("starts anew: {}", name);
  for (const auto& name : report.unused) common.detail("not used: {}", name);
}

void remove_outputs(const fs::path& folder, const train::CheckpointFolder& checkpoints) {
  while (const auto path = checkpoints.newest()) fs::remove(*path);
  for (const char* name : {kFinalModel, kMetrics}) fs::remove(folder / name);
}

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// A training in progress: its parts, and what goes on between them.
class Run {
 public:
  Run(const Common& common, const TrainSettings& settings, const TrainFiles& files, const train::Dataset& data,
      Json info)
      : common_(common),
        settings_(settings),
        files_(files),
        folder_(files.out),
        checkpoints_(folder_, settings.keep),
        data_(data),
        info_(std::move(info)),
        seed_(static_cast<std::uint64_t>(common.seed)),
        device_(common.device()),
        store_(seed_, device_),
        model_(Scope(store_), settings.detector(data.classes()), device_),
        loading_(settings.loading(seed_)),
        schedule_(settings.schedule()),
        trainer_(store_, model_, trainer_options()) {}

  /// Takes the weights, or what a former run has left, and trains. Returns the exit status.
  int run() {
    if (common_.force) remove_outputs(folder_, checkpoints_);
    fs::create_directories(folder_);
    std::string open_line;
    bool due = false;
    if (common_.resume && checkpoints_.newest())
      std::tie(open_line, due) = go_on();
    else if (!files_.weights.empty())
      start_from_weights(common_, files_.weights, store_);
    train::Metrics metrics(folder_ / kMetrics, trainer_.iteration(), open_line);
    metrics_ = &metrics;
    train::Loader loader(data_, loading_, trainer_.iteration());
    Progress progress(common_, schedule_.iterations, "steps", trainer_.iteration());
    if (due && !between_steps()) return stopped();
    while (!trainer_.finished()) {
      const auto begin = Clock::now();
      const std::vector<train::Sample> batch = loader.next();
      const double data_seconds = since(begin);
      const train::StepReport report = trainer_.step(batch);
      if (report.bad)
        common_.warn("step {}: loss or gradient is not finite; {} such steps", report.iteration + 1,
                     trainer_.bad_steps());
      metrics.add(report, data_seconds, since(begin));
      progress.step(report.bad);
      if (trainer_.iteration() % settings_.log_every == 0 || trainer_.finished()) {
        const std::string line = metrics.write(schedule_.iterations);
        if (!line.empty()) common_.note("{}", line);
      }
      if (!between_steps()) return stopped();
    }
    progress.finish();
    save_safetensors(folder_ / kFinalModel, store_.state_dict(), {{kInfo, info_.dump()}});
    common_.note("wrote {}", (folder_ / kFinalModel).string());
    return kSuccess;
  }

 private:
  train::TrainerOptions trainer_options() const {
    train::TrainerOptions options;
    options.schedule = schedule_;
    options.sgd = settings_.sgd;
    options.seed = seed_;
    options.repeat_on_bad_loss = settings_.preset == "release";
    return options;
  }

  int stopped() const {
    common_.note("stopped after step {}; --resume goes on", trainer_.iteration());
    return 128 + pending_signal();
  }

  // Brings the trainer to where the newest checkpoint was. Returns the state of its open line of figures, and whether
  // what comes between that step and the next is still due.
  std::pair<std::string, bool> go_on() {
    const auto saved = checkpoints_.load_newest();
    const auto text = [&](const char* key) {
      const auto found = saved->metadata.find(key);
      return found == saved->metadata.end() ? std::string() : found->second;
    };
    const std::string differences = describe_differences(Json::parse(text(kInfo), nullptr, false), info_);
    check(differences.empty(), ErrorKind::kUsage, "{} was made with other settings: {}", saved->path.string(),
          differences);
    trainer_.load_state(saved->tensors);
    common_.note("going on after step {}", trainer_.iteration());
    return {text(kOpenLine), !text(kDue).empty()};
  }

  void save(bool due) const {
    checkpoints_.save(trainer_.iteration(), trainer_.state(),
                      {{kInfo, info_.dump()}, {kOpenLine, metrics_->state()}, {kDue, due ? "yes" : ""}});
  }

  // Every so many steps, and after the last one.
  bool is_time(std::int64_t every) const {
    return trainer_.finished() || (every > 0 && trainer_.iteration() % every == 0);
  }

  // What comes after a step. False once a signal has come: everything is saved then, and what could not be finished is
  // noted in the checkpoint as due.
  bool between_steps() {
    if (settings_.precise_bn > 0 && is_time(settings_.precise_bn_every) && !precise_batch_norm()) {
      save(true);
      return false;
    }
    const bool stop = pending_signal() != 0 && !trainer_.finished();
    if (stop || is_time(settings_.checkpoint_every)) save(false);
    return !stop;
  }

  bool precise_batch_norm() {
    common_.detail("statistics of the norms from {} batches", settings_.precise_bn);
    train::Loader loader(data_, settings_.precise_loading(seed_));
    return train::precise_batch_norm(
        model_, store_, settings_.precise_bn, [&] { return loader.next(); }, [] { return pending_signal() != 0; });
  }

  const Common& common_;
  const TrainSettings& settings_;
  const TrainFiles& files_;
  fs::path folder_;
  train::CheckpointFolder checkpoints_;
  const train::Dataset& data_;
  Json info_;
  std::uint64_t seed_;
  Device device_;
  ParamStore store_;
  Rcnn model_;
  train::LoaderOptions loading_;
  train::Schedule schedule_;
  train::Trainer trainer_;
  train::Metrics* metrics_ = nullptr;
};

}  // namespace

int run_training(const Common& common, const TrainSettings& settings, const TrainFiles& files, Json info) {
  const fs::path folder = files.out;
  check_files(common, files, train::CheckpointFolder(folder, settings.keep));
  check(common.precision == "f32", ErrorKind::kUnsupported, "--precision {}: training computes in f32",
        common.precision);
  if (common.resume && fs::exists(folder / kFinalModel)) {
    common.note("{} is there already", (folder / kFinalModel).string());
    return kSuccess;
  }
  const train::Dataset data(files.annotations, files.image_root, settings.exif);
  if (!files.weights.empty()) info["weights_sha256"] = sha256_file(files.weights);
  info["annotations_sha256"] = sha256_file(files.annotations);
  Run run(common, settings, files, data, std::move(info));
  common.note("{} pictures with {} objects of {} class{}; {} steps of {}", data.size(), data.objects(), data.classes(),
              data.classes() == 1 ? "" : "es", settings.schedule().iterations, settings.batch);
  return common.dry_run ? kSuccess : run.run();
}

}  // namespace usol
