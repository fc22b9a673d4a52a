// usol train: pictures and pseudo-masks -> a detector. Mask R-CNN or Cascade Mask R-CNN on a ResNet with a feature
// pyramid, with DropLoss and copy-paste, from scratch or from given weights.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "cli/journal.h"
#include "cli/progress.h"
#include "cli/provenance.h"
#include "cli/signals.h"
#include "cli/verb.h"
#include "io/atomic_file.h"
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
constexpr const char* kFinal = "model_final.safetensors";

const std::map<std::string, std::map<std::string, std::string>> kPresets = {
    {"paper", {{"lr", "0.005"}, {"gamma", "0.2"}}},
    {"release", {{"lr", "0.01"}, {"gamma", "0.02"}}},
};

std::vector<std::int64_t> whole_numbers(const std::vector<double>& values, const std::string& key) {
  std::vector<std::int64_t> result;
  for (double v : values) {
    check(std::nearbyint(v) == v && v >= 1 && v <= 1e9, ErrorKind::kUsage,
          "--{}: expected whole numbers above 0, got {}", key, v);
    result.push_back(static_cast<std::int64_t>(v));
  }
  return result;
}

class TrainVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "Trains a detector on pictures and a COCO file of (pseudo-)masks: Cascade Mask R-CNN or Mask R-CNN on a ResNet "
        "with a feature pyramid. DIR gets metrics.json (one line of figures every so many steps), checkpoints to go on "
        "from, and at the end model_final.safetensors for usol predict.");
    options.preset(preset_, kPresets,
                   "paper: rates and losses as published; release: those of CutLER's public code, its quirks included");
    options.group("Data");
    options.add("--annotations FILE", annotations_, "COCO file with masks", OptionKind::kRun);
    options.add("--image-root DIR", image_root_, "The folder of its pictures", OptionKind::kRun);
    options.flag("--no-exif", exif_, "Ignore the orientation that cameras note in their files");
    options.add("--short-sides PX", short_sides_, "Each picture's short side becomes one of these, at random");
    options.add("--long-side PX", augment_.long_side, "... but the long one no longer than this");
    options.at_least("long-side", 1);
    options.at_most("long-side", 16384);
    options.add("--flip P", augment_.flip, "Probability of a left-right flip");
    options.at_least("flip", 0);
    options.at_most("flip", 1);
    options.flag("--no-copy-paste", copy_paste_, "Do not paste objects of one picture into another");
    options.add("--paste-least RATIO", paste_.least_ratio, "Smallest size of a pasted picture, of its target's");
    options.at_least("paste-least", 0.01);
    options.at_most("paste-least", 1);
    options.add("--group-size N", group_size_, "Pictures among which objects are pasted; of like shape");
    options.at_least("group-size", 1);
    options.group("Detector");
    options.add("--weights FILE", weights_,
                "Start: a ResNet (DINO, MoCo-v2, Detectron2) or a whole detector. Without it, random numbers",
                OptionKind::kRun);
    options.add("--stages N", stages_, "3: Cascade Mask R-CNN; 1: Mask R-CNN");
    options.add("--blocks N", blocks_, "Blocks of res2 ... res5");
    options.add("--resnet-channels N", resnet_channels_, "Width of res2's result");
    options.at_least("resnet-channels", 4);
    options.add("--channels N", channels_, "Width of the pyramid and the mask head");
    options.at_least("channels", 1);
    options.add("--hidden N", hidden_, "Width of the box head");
    options.at_least("hidden", 1);
    options.add("--rpn-nms IOU", rpn_nms_, "Of proposals that overlap more than this, the best stays");
    options.at_least("rpn-nms", 0);
    options.at_most("rpn-nms", 1);
    options.add("--proposals N", proposals_, "Proposals per picture");
    options.at_least("proposals", 1);
    options.group("Losses and steps");
    options.flag("--no-droploss", droploss_, "Regions that overlap no object count as background in full");
    options.add("--droploss-iou IOU", droploss_iou_, "... unless switched off: overlaps up to this are dropped");
    options.at_least("droploss-iou", 0);
    options.at_most("droploss-iou", 1);
    options.add("--batch N", batch_, "Pictures per step");
    options.at_least("batch", 1);
    options.add("--reference-batch N", reference_batch_,
                "The batch that the numbers below are meant for; rate and counts are scaled linearly to --batch");
    options.at_least("reference-batch", 1);
    options.add("--iterations N", schedule_.iterations, "Steps");
    options.at_least("iterations", 1);
    options.add("--lr RATE", schedule_.learning_rate, "Learning rate");
    options.add("--steps N", steps_, "Steps at which the rate is multiplied by gamma");
    options.add("--gamma FACTOR", schedule_.gamma, "See --steps");
    options.add("--warmup N", schedule_.warmup, "Steps over which the rate grows from a thousandth");
    options.at_least("warmup", 0);
    options.add("--momentum M", sgd_.momentum, "SGD's momentum");
    options.at_least("momentum", 0);
    options.at_most("momentum", 1);
    options.add("--weight-decay W", sgd_.weight_decay, "Weight decay; norms have none");
    options.at_least("weight-decay", 0);
    options.add("--clip NORM", sgd_.clip_norm, "Largest norm of each parameter's gradient; 0: any");
    options.at_least("clip", 0);
    options.add("--faster MODULE", sgd_.faster, "Modules that learn faster, e.g. roi_heads.mask_head.predictor");
    options.add("--faster-by FACTOR", sgd_.faster_by, "... so many times");
    options.group("Output");
    options.add("--out DIR", out_, "Folder of all results", OptionKind::kRun);
    options.add("--checkpoint-every N", checkpoint_every_, "Steps between checkpoints", OptionKind::kRun);
    options.at_least("checkpoint-every", 1);
    options.add("--keep N", keep_, "Checkpoints that stay", OptionKind::kRun);
    options.at_least("keep", 1);
    options.add("--log-every N", log_every_, "Steps per line of metrics.json", OptionKind::kRun);
    options.at_least("log-every", 1);
    options.add("--workers N", workers_, "Threads that prepare pictures", OptionKind::kRun);
    options.at_least("workers", 1);
    options.at_most("workers", 256);
    options.example(
        "usol train --config configs/cutler_cascade.toml --annotations masks.json --image-root images "
        "--weights dino_rn50.pth --out run",
        "The paper's detector on MaskCut's masks");
    options.example("usol train --config run.toml --out run --resume", "Goes on after an interruption");
  }

  int run(const Common& common, const Options& options) override {
    check(!out_.empty(), ErrorKind::kUsage, "--out DIR is missing");
    check(!annotations_.empty(), ErrorKind::kUsage, "--annotations FILE is missing: a COCO file with masks");
    check(!image_root_.empty(), ErrorKind::kUsage, "--image-root DIR is missing: the folder of the pictures");
    for (const std::string& file : {annotations_, weights_})
      check(file.empty() || fs::exists(file), ErrorKind::kUsage, "{}: no such file", file);
    check(common.precision == "f32", ErrorKind::kUnsupported, "--precision {}: training computes in f32",
          common.precision);
    const fs::path folder = out_;
    check(!fs::exists(folder) || fs::is_directory(folder), ErrorKind::kUsage, "--out {} is no folder", out_);
    const train::CheckpointFolder checkpoints(folder, keep_);
    const bool exists = checkpoints.newest() || fs::exists(folder / kFinal) || fs::exists(folder / "metrics.json");
    check(!exists || common.resume || common.force || common.dry_run, ErrorKind::kUsage,
          "{} holds a training; --resume goes on with it, --force starts anew", out_);
    if (common.resume && fs::exists(folder / kFinal)) {
      common.note("{} is there already", (folder / kFinal).string());
      return kSuccess;
    }

    const train::Dataset data(annotations_, image_root_, exif_);
    const Device device = common.device();
    ParamStore store(static_cast<std::uint64_t>(common.seed), device);
    const Rcnn model(Scope(store), config(data.classes()), device);
    train::TrainerOptions settings;
    settings.schedule = schedule();
    settings.sgd = sgd_;
    settings.seed = static_cast<std::uint64_t>(common.seed);
    settings.repeat_on_bad_loss = preset_ == "release";
    train::Trainer trainer(store, model, settings);
    Json info = make_info("train", common, options, weights_.empty() ? "" : sha256_file(weights_));
    info["annotations_sha256"] = sha256_file(annotations_);
    common.note("{} pictures with {} objects of {} class{}; {} steps of {}", data.size(), data.objects(),
                data.classes(), data.classes() == 1 ? "" : "es", settings.schedule.iterations, batch_);
    if (common.dry_run) return kSuccess;

    if (common.force) remove_outputs(folder, checkpoints);
    fs::create_directories(folder);
    std::string open_line;
    const auto saved = common.resume ? checkpoints.load_newest() : std::nullopt;
    if (saved) {
      const Json was = Json::parse(saved->metadata.contains(kInfo) ? saved->metadata.at(kInfo) : "", nullptr, false);
      const std::string differences = describe_differences(was, info);
      check(differences.empty(), ErrorKind::kUsage, "{} was made with other settings: {}", saved->path.string(),
            differences);
      trainer.load_state(saved->tensors);
      if (saved->metadata.contains(kOpenLine)) open_line = saved->metadata.at(kOpenLine);
      common.note("going on after step {}", trainer.iteration());
    } else if (!weights_.empty()) {
      start(common, store);
    }
    return loop(common, folder, checkpoints, data, trainer, settings.schedule.iterations, info, open_line, store);
  }

 private:
  RcnnConfig config(std::int64_t classes) const {
    check(stages_ == 1 || stages_ == 3, ErrorKind::kUsage, "--stages {}: expected 1 or 3", stages_);
    const std::vector<std::int64_t> blocks = whole_numbers(blocks_, "blocks");
    check(blocks.size() == 4, ErrorKind::kUsage, "--blocks: expected four numbers, got {}", blocks.size());
    check(resnet_channels_ % 4 == 0, ErrorKind::kUsage, "--resnet-channels {}: expected a multiple of 4",
          resnet_channels_);
    RcnnConfig c = cutler_config(stages_, classes);
    std::copy(blocks.begin(), blocks.end(), c.resnet.blocks.begin());
    c.resnet.res2_channels = resnet_channels_;
    c.resnet.stem_channels = c.resnet.width_per_group = resnet_channels_ / 4;
    c.fpn.channels = c.rpn.channels = c.heads.box.channels = channels_;
    c.heads.mask->channels = c.heads.mask->hidden = channels_;
    c.heads.box.hidden = hidden_;
    c.rpn.nms = rpn_nms_;
    c.rpn.post_nms_train = proposals_;
    if (droploss_) {
      const auto kind = preset_ == "release" ? rcnn::DropLossPreset::kRelease : rcnn::DropLossPreset::kPaper;
      c.heads.droploss = {kind, droploss_iou_};
    }
    return c;
  }

  train::Schedule schedule() const {
    train::Schedule schedule = schedule_;
    schedule.steps = whole_numbers(steps_, "steps");
    return train::scaled(schedule, batch_, reference_batch_);
  }

  void start(const Common& common, ParamStore& store) const {
    StateDict state = load_checkpoint(weights_).tensors;
    if (state.contains("layer1.0.conv1.weight")) resnet_to_detectron2(state, "backbone.bottom_up.");
    const train::StartReport report = train::start_from(store, state, weights_);
    common.note("{}: {} of the detector's {} tensors; {} start anew", weights_, report.loaded.size(),
                store.names().size(), report.fresh.size());
    for (const auto& text : report.mismatched) common.warn("{}: {}", weights_, text);
    for (const auto& name : report.fresh) common.detail("starts anew: {}", name);
    for (const auto& name : report.unused) common.detail("not used: {}", name);
  }

  static void remove_outputs(const fs::path& folder, const train::CheckpointFolder& checkpoints) {
    while (const auto path = checkpoints.newest()) fs::remove(*path);
    for (const char* name : {kFinal, "metrics.json"}) fs::remove(folder / name);
  }

  int loop(const Common& common, const fs::path& folder, const train::CheckpointFolder& checkpoints,
           const train::Dataset& data, train::Trainer& trainer, std::int64_t iterations, const Json& info,
           const std::string& open_line, const ParamStore& store) const {
    using Clock = std::chrono::steady_clock;
    const auto since = [](Clock::time_point start) {
      return std::chrono::duration<double>(Clock::now() - start).count();
    };
    train::LoaderOptions loading{
        .batch = batch_, .group_size = group_size_, .seed = static_cast<std::uint64_t>(common.seed)};
    loading.augment = augment_;
    loading.augment.short_sides = whole_numbers(short_sides_, "short-sides");
    loading.copy_paste.reset();
    if (copy_paste_) {
      loading.copy_paste = paste_;
      loading.copy_paste->preset =
          preset_ == "release" ? train::CopyPastePreset::kRelease : train::CopyPastePreset::kPaper;
    }
    loading.threads = static_cast<int>(workers_);
    train::Metrics metrics(folder / "metrics.json", trainer.iteration(), open_line);
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
        common.warn("step {}: loss or gradient is not finite; {} such steps", report.iteration + 1,
                    trainer.bad_steps());
      metrics.add(report, data_seconds, since(begin));
      progress.step(report.bad);
      if (trainer.iteration() % log_every_ == 0 || trainer.finished()) {
        const std::string line = metrics.write(iterations);
        if (!line.empty()) common.note("{}", line);
      }
      const bool stop = pending_signal() != 0 && !trainer.finished();
      if (stop || trainer.iteration() % checkpoint_every_ == 0 || trainer.finished()) save();
      if (stop) {
        common.note("stopped after step {}; --resume goes on", trainer.iteration());
        return 128 + pending_signal();
      }
    }
    progress.finish();
    save_safetensors(folder / kFinal, store.state_dict(), {{kInfo, info.dump()}});
    common.note("wrote {}", (folder / kFinal).string());
    return kSuccess;
  }

  std::string preset_ = "paper", annotations_, image_root_, weights_, out_;
  bool exif_ = true, copy_paste_ = true, droploss_ = true;
  train::AugmentOptions augment_;
  train::CopyPasteOptions paste_;
  train::SgdOptions sgd_;
  train::Schedule schedule_;
  std::vector<double> short_sides_{240, 320, 480, 640, 672, 704, 736, 768, 800, 1024}, steps_{80000},
      blocks_{3, 4, 6, 3};
  std::int64_t group_size_ = 2, stages_ = 3, resnet_channels_ = 256, channels_ = 256, hidden_ = 1024;
  std::int64_t proposals_ = 4000, batch_ = 16, reference_batch_ = 16;
  std::int64_t checkpoint_every_ = 5000, keep_ = 2, log_every_ = 20, workers_ = 2;
  double rpn_nms_ = 0.65, droploss_iou_ = 0.01;
};

const RegisterVerb<TrainVerb> kTrain("train", "a detector from pictures and pseudo-masks");

}  // namespace
}  // namespace usol
