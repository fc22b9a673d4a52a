#include "cli/train_job.h"

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
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
#include "train/trainer.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol {
namespace {

constexpr const char* kInfo = "info";  // keys of a checkpoint's metadata
constexpr const char* kOpenLine = "metrics";
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

// Brings the trainer to where the newest checkpoint was; returns the state of its open line of figures.
std::string go_on(const Common& common, const train::CheckpointFolder& checkpoints, const Json& info,
                  train::Trainer& trainer) {
  const auto saved = checkpoints.load_newest();
  const auto text = [&](const char* key) {
    const auto found = saved->metadata.find(key);
    return found == saved->metadata.end() ? std::string() : found->second;
  };
  const std::string differences = describe_differences(Json::parse(text(kInfo), nullptr, false), info);
  check(differences.empty(), ErrorKind::kUsage, "{} was made with other settings: {}", saved->path.string(),
        differences);
  trainer.load_state(saved->tensors);
  common.note("going on after step {}", trainer.iteration());
  return text(kOpenLine);
}

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace

int run_training(const Common& common, const TrainSettings& settings, const TrainFiles& files, Json info) {
  const fs::path folder = files.out;
  const train::CheckpointFolder checkpoints(folder, settings.keep);
  check_files(common, files, checkpoints);
  check(common.precision == "f32", ErrorKind::kUnsupported, "--precision {}: training computes in f32",
        common.precision);
  if (common.resume && fs::exists(folder / kFinalModel)) {
    common.note("{} is there already", (folder / kFinalModel).string());
    return kSuccess;
  }

  const train::Dataset data(files.annotations, files.image_root, settings.exif);
  const Device device = common.device();
  const auto seed = static_cast<std::uint64_t>(common.seed);
  ParamStore store(seed, device);
  const Rcnn model(Scope(store), settings.detector(data.classes()), device);
  train::TrainerOptions options;
  options.schedule = settings.schedule();
  options.sgd = settings.sgd;
  options.seed = seed;
  options.repeat_on_bad_loss = settings.preset == "release";
  train::Trainer trainer(store, model, options);
  const train::LoaderOptions loading = settings.loading(seed);
  const std::int64_t iterations = options.schedule.iterations;
  if (!files.weights.empty()) info["weights_sha256"] = sha256_file(files.weights);
  info["annotations_sha256"] = sha256_file(files.annotations);
  common.note("{} pictures with {} objects of {} class{}; {} steps of {}", data.size(), data.objects(), data.classes(),
              data.classes() == 1 ? "" : "es", iterations, settings.batch);
  if (common.dry_run) return kSuccess;

  if (common.force) remove_outputs(folder, checkpoints);
  fs::create_directories(folder);
  std::string open_line;
  if (common.resume && checkpoints.newest())
    open_line = go_on(common, checkpoints, info, trainer);
  else if (!files.weights.empty())
    start_from_weights(common, files.weights, store);

  train::Metrics metrics(folder / kMetrics, trainer.iteration(), open_line);
  train::Loader loader(data, loading, trainer.iteration());
  Progress progress(common, iterations, "steps", trainer.iteration());
  const auto save = [&] {
    checkpoints.save(trainer.iteration(), trainer.state(), {{kInfo, info.dump()}, {kOpenLine, metrics.state()}});
  };
  while (!trainer.finished()) {
    const auto begin = Clock::now();
    const std::vector<train::Sample> batch = loader.next();
    const double data_seconds = since(begin);
    const train::StepReport report = trainer.step(batch);
    if (report.bad)
      common.warn("step {}: loss or gradient is not finite; {} such steps", report.iteration + 1, trainer.bad_steps());
    metrics.add(report, data_seconds, since(begin));
    progress.step(report.bad);
    if (trainer.iteration() % settings.log_every == 0 || trainer.finished()) {
      const std::string line = metrics.write(iterations);
      if (!line.empty()) common.note("{}", line);
    }
    const bool stop = pending_signal() != 0 && !trainer.finished();
    if (stop || trainer.iteration() % settings.checkpoint_every == 0 || trainer.finished()) save();
    if (stop) {
      common.note("stopped after step {}; --resume goes on", trainer.iteration());
      return 128 + pending_signal();
    }
  }
  progress.finish();
  save_safetensors(folder / kFinalModel, store.state_dict(), {{kInfo, info.dump()}});
  common.note("wrote {}", (folder / kFinalModel).string());
  return kSuccess;
}

}  // namespace usol
