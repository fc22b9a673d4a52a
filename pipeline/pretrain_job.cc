#include "usol/pipeline/pretrain_job.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "usol/autograd/grad_mode.h"
#include "usol/io/atomic_file.h"
#include "usol/io/checkpoint.h"
#include "usol/io/checkpoint_files.h"
#include "usol/io/draw.h"
#include "usol/io/image.h"
#include "usol/io/json_text.h"
#include "usol/io/output_folder.h"
#include "usol/io/pth.h"
#include "usol/io/resize.h"
#include "usol/models/vit.h"
#include "usol/ops/rank_values.h"
#include "usol/ops/reduce.h"
#include "usol/pipeline/progress.h"
#include "usol/pipeline/provenance.h"
#include "usol/pipeline/reading.h"
#include "usol/pipeline/training_folder.h"
#include "usol/tensor/allocator.h"
#include "usol/tensor/check.h"
#include "usol/train/checkpoint.h"
#include "usol/train/metrics.h"
#include "usol/train/skipped_pictures.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol {
namespace {

constexpr const char *kOpenLine = "metrics", *kSkipped = "skipped";  // keys of checkpoints' metadata

// The warning of a collapse comes at the earliest after this share of the steps: before, a teacher may well say the
// same of everything.
constexpr double kGrace = 0.1;

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

TrainingFolder folder_of(const std::string& out, std::int64_t keep = 1) {
  return {out, {kFinalBackbone, kFinalBackbonePth}, keep};
}

// What a training starts from.
struct Start {
  StateDict weights;  // empty: random numbers
  std::int64_t position_grid = 0;
};

Start read_start(const PretrainConfig& settings, const PretrainFiles& files) {
  if (files.weights.empty()) return {{}, settings.grid()};
  StateDict weights = io::load_checkpoint(files.weights, {.entry = files.entry}).tensors;
  const auto found = vit_config(weights);
  check(found.has_value(), ErrorKind::kFormat, "weights {}: not a vision transformer; see 'usol info'", files.weights);
  check(!found->layer_scale && found->registers == 0, ErrorKind::kUnsupported,
        "weights {}: {} is of DINOv2; only DINO's networks are trained on", files.weights, found->name());
  check(found->width == settings.width && found->depth == settings.depth && found->patch == settings.patch &&
            found->mlp_hidden == 4 * settings.width,
        ErrorKind::kUsage, "weights {}: width {}, depth {} and patch {}, but the settings say {}, {} and {}",
        files.weights, found->width, found->depth, found->patch, settings.width, settings.depth, settings.patch);
  return {std::move(weights), found->grid};
}

// The picture and what the teacher's class token attends to in it: the mean over heads, then the first heads.
Tensor draw_attention(const Tensor& picture, const Vit& teacher, std::int64_t side, const Device& device) {
  constexpr std::int64_t kMostHeads = 3, kShownPx = 240;
  const NoGrad no_grad;
  const std::int64_t patch = teacher.patch_px(), shorter = std::min(picture.size(0), picture.size(1));
  const auto fitted = [&](std::int64_t px) { return std::max<std::int64_t>(1, px * side / shorter / patch) * patch; };
  const std::int64_t height = fitted(picture.size(0)), width = fitted(picture.size(1));
  const Tensor image = io::resize(picture, height, width, io::Filter::kBicubic);
  const Tensor maps = teacher.features_and_attention(normalised(image).to(device)).attention.select(0, 0);
  const auto heat = [&](const Tensor& map) {
    return io::draw_heat_map(map.to(Device::cpu()).contiguous(), height, width, io::Filter::kNearest);
  };
  std::vector<io::Panel> panels{{image, "picture"}, {heat(mean(maps, {0})), "attention"}};
  for (std::int64_t head = 0; head < std::min(maps.size(0), kMostHeads); ++head)
    panels.push_back({heat(maps.select(0, head)), fmt::format("head {}", head + 1)});
  return io::draw_side_by_side(panels, kShownPx);
}

// A pre-training in progress: its parts, and what goes on between them.
class Pretraining {
 public:
  Pretraining(const Run& run, const PretrainConfig& settings, const PretrainFiles& files, const InputList& inputs,
              Start start, Json info)
      : run_(run),
        leads_(run.leads()),
        settings_(settings),
        inputs_(inputs),
        folder_(folder_of(files.out, settings.output.keep)),
        info_(std::move(info)),
        skipped_(
            inputs.size(), [this](std::int64_t index) { return why_unreadable(index); }, settings.most_skipped,
            run.ranks),
        pretrainer_(options(start.position_grid), run.device) {
    if (!start.weights.empty()) pretrainer_.start_from(start.weights, files.weights);
  }

  /// Takes what a former run has left, and trains. Returns the exit status.
  int run() {
    wait_for_ranks();  // all have looked at the folder before anything changes in it
    if (run_.replaces() && leads_) folder_.remove();
    if (leads_) {
      fs::create_directories(folder_.path());
      folder_.remove_unfinished();
    }
    wait_for_ranks();
    std::string open_line;
    if (run_.continues() && folder_.checkpoints().newest()) open_line = go_on();
    check_same_start();
    CropLoader loader(inputs_, settings_.pictures.decode(), loading(), pretrainer_.iteration());
    if (leads_) metrics_.emplace(folder_.metrics(), pretrainer_.iteration(), open_line);
    write_skipped();
    if (metrics_ && metrics_->damaged_lines() > 0)
      run_.warn("{}: lines cut short or damaged and left out: {}", folder_.metrics().string(),
                metrics_->damaged_lines());
    Progress progress(run_, pretrainer_.iterations(), "steps", pretrainer_.iteration());
    while (!pretrainer_.finished()) {
      const train::StepReport report = step(loader);
      progress.step(report.bad);
      const bool stop = stop_asked() && !pretrainer_.finished();
      if (stop || pretrainer_.finished() || pretrainer_.iteration() % settings_.output.checkpoint_every == 0) save();
      if (stop) {
        run_.note("stopped after step {}", pretrainer_.iteration());
        return 128 + signal_;
      }
    }
    progress.finish();
    if (leads_) write_result();
    return skipped_.size() > 0 ? kSomeInputsFailed : kSuccess;
  }

 private:
  train::PretrainerOptions options(std::int64_t position_grid) const {
    train::PretrainerOptions options = settings_.pretrainer(inputs_.size(), position_grid);
    options.seed = run_.seed;
    options.precision = run_.precision;
    options.ranks = run_.ranks;
    return options;
  }

  CropLoaderOptions loading() const {
    CropLoaderOptions options = settings_.loading(run_.seed);
    if (!run_.ranks) return options;
    options.rank = run_.ranks->rank();
    options.ranks = run_.ranks->size();
    return options;
  }

  std::string why_unreadable(std::int64_t index) const {
    try {
      train::decode_picture(inputs_[index].path, settings_.pictures.decode());
    } catch (const train::UnreadablePicture& error) {
      return error.what();
    }
    return {};
  }

  void wait_for_ranks() const { of_all_ranks(0, run_.ranks); }

  // Before files on a network disk have reached every machine, ranks could go on from different states.
  void check_same_start() const {
    const auto here = static_cast<double>(pretrainer_.iteration());
    for (const double iteration : of_all_ranks(here, run_.ranks))
      check(iteration == here, ErrorKind::kIo,
            "{}: this process goes on after step {}, another one after step {}; do all machines see the same folder?",
            folder_.path().string(), here, iteration);
  }

  // True once any rank has caught a signal, on all ranks at once. All must ask.
  bool stop_asked() {
    for (const double number : of_all_ranks(run_.stop_asked(), run_.ranks))
      if (signal_ == 0) signal_ = static_cast<int>(number);
    return signal_ != 0;
  }

  train::StepReport step(CropLoader& loader) {
    const auto begin = Clock::now();
    const train::CropBatch batch = loader.next();
    const double data_seconds = since(begin);
    note_skipped(loader.take_skipped());
    const train::StepReport report = pretrainer_.step(batch);
    if (!leads_) return report;
    const std::int64_t done = pretrainer_.iteration();
    if (report.bad) run_.warn("step {}: loss or gradient is not finite; {} such steps", done, pretrainer_.bad_steps());
    metrics_->add(report, data_seconds, since(begin));
    if (settings_.pictures_every > 0 && (done % settings_.pictures_every == 0 || pretrainer_.finished())) draw();
    if (done % settings_.output.log_every == 0 || pretrainer_.finished()) {
      const std::string line =
          metrics_->write(pretrainer_.iterations(), allocator(run_.device.type).stats().peak_bytes);
      if (!line.empty()) run_.note("{}", line);
      if (!report.bad) warn_of_collapse();
    }
    return report;
  }

  // Once for each collapse.
  void warn_of_collapse() {
    const bool was = std::exchange(collapsed_, train::is_collapsed(pretrainer_.figures()));
    const double share = static_cast<double>(pretrainer_.iteration()) / static_cast<double>(pretrainer_.iterations());
    if (share <= kGrace) collapsed_ = false;
    if (was || !collapsed_) return;
    run_.warn(
        "step {}: the training has collapsed: the teacher says nearly the same of all pictures (entropy {:.4f} of at "
        "most {:.4f}, of which {:.4f} tell pictures apart; spread of the features {:.4f}). Nothing is learned from "
        "there. A lower teacher-temp or lr, a higher momentum-teacher or a larger batch may help",
        pretrainer_.iteration(), pretrainer_.figures().entropy, std::log(static_cast<double>(settings_.head.out)),
        pretrainer_.figures().information, pretrainer_.figures().spread);
  }

  // What the teacher attends to in the first pictures. What is in the way of a picture is no reason to end a training.
  void draw() {
    constexpr std::int64_t kMost = 4;
    if (!pictures_) pictures_ = std::make_unique<io::OutputFolder>(folder_.pictures());
    for (std::int64_t i = 0; i < std::min(inputs_.size(), kMost); ++i) {
      Tensor picture;
      try {
        picture = train::decode_picture(inputs_[i].path, settings_.pictures.decode());
      } catch (const train::UnreadablePicture&) {  // counted where it is trained on
        continue;
      }
      const std::int64_t side = 2 * settings_.crops.global_px;
      const Tensor drawn = draw_attention(picture, pretrainer_.teacher(), side, run_.device);
      const std::vector<std::byte> jpeg = io::encode_jpeg(drawn);
      const std::string name = fmt::format("step_{:07}_{}.jpg", pretrainer_.iteration(), i);
      if (pictures_->may_write(name))
        pictures_->write(name, jpeg);
      else
        run_.warn("{}: is in the way, and was not written by usol; the picture is left out",
                  (pictures_->path() / name).string());
      metrics_->events().add_picture(pretrainer_.iteration() - 1, fmt::format("attention/{}", i), drawn.size(0),
                                     drawn.size(1), jpeg);
    }
  }

  // Counts pictures that this rank could not read, and speaks of those of all ranks that are new.
  void note_skipped(const std::vector<train::SkippedPicture>& met) {
    const auto added = skipped_.add(met);
    if (!leads_ || added.empty()) return;
    say_skipped(run_, added);
    write_skipped();
  }

  void write_skipped() const {
    if (leads_ && skipped_.size() > 0) io::write_file(folder_.skipped_list(), skipped_.text());
  }

  // Brings the training to where the newest checkpoint was. Returns the state of its open line of figures.
  std::string go_on() {
    train::SavedState saved = folder_.newest(run_, info_, leads_);
    pretrainer_.load_state(saved.tensors);
    if (const std::string& skipped = saved.metadata[kSkipped]; !skipped.empty()) skipped_.load_state(skipped);
    run_.note("going on after step {}, from {}", pretrainer_.iteration(), saved.path.string());
    return saved.metadata[kOpenLine];
  }

  void save() const {
    if (!leads_) return;
    folder_.checkpoints().save(
        pretrainer_.iteration(), pretrainer_.state(),
        {{TrainingFolder::kInfo, io::json_text(info_)}, {kOpenLine, metrics_->state()}, {kSkipped, skipped_.state()}});
  }

  void write_result() const {
    const StateDict backbone = pretrainer_.backbone();
    io::save_pth(folder_.path() / kFinalBackbonePth, backbone);
    train::save_checked(folder_.path() / kFinalBackbone, backbone, {{TrainingFolder::kInfo, io::json_text(info_)}});
    run_.note("wrote {} and {}", (folder_.path() / kFinalBackbone).string(), kFinalBackbonePth);
    if (skipped_.size() > 0)
      run_.warn("{} of {} pictures could not be read, others took their places; {} lists them", skipped_.size(),
                inputs_.size(), folder_.skipped_list().string());
  }

  const Run& run_;
  bool leads_;
  const PretrainConfig& settings_;
  const InputList& inputs_;
  TrainingFolder folder_;
  Json info_;
  train::SkippedPictures skipped_;
  train::Pretrainer pretrainer_;
  std::optional<train::Metrics> metrics_;  // the first rank's
  std::unique_ptr<io::OutputFolder> pictures_;
  int signal_ = 0;  // that stops all ranks
  bool collapsed_ = false;
};

void check_files(const Run& run, const PretrainConfig& settings, const PretrainFiles& files, const InputList& inputs) {
  check(!files.out.empty(), ErrorKind::kUsage, "out is missing: the folder of all results");
  check(files.weights.empty() || fs::exists(files.weights), ErrorKind::kUsage, "{}: no such file", files.weights);
  check(files.entry.empty() || !files.weights.empty(), ErrorKind::kUsage, "entry {}: is for weights", files.entry);
  std::vector<std::string> reads = files.inputs.inputs;
  reads.push_back(files.weights);
  folder_of(files.out).check_outputs(run, reads, settings.pictures_every > 0, &inputs);
}

}  // namespace

void PretrainFiles::declare(Settings& settings) {
  inputs.declare(settings);
  settings.group("Files");
  settings.add("out DIR", out, "Folder of all results", OptionKind::kRun);
  settings.add("weights FILE", weights,
               "Start: a ViT of DINO of the settings' width, depth and patch. Without it, random numbers",
               OptionKind::kRun);
  settings.add("entry NAME", entry, "Take this entry of the weights' dict (\"student\") instead of looking",
               OptionKind::kRun);
}

int run_pretraining(const Run& run, const PretrainConfig& settings, const PretrainFiles& files) {
  const auto report = settings.pictures.report_at_end(run);
  const InputList inputs = files.inputs.collect();
  say_reading(run, inputs);
  check_files(run, settings, files, inputs);
  const TrainingFolder folder = folder_of(files.out);
  if (run.continues() && folder.is_finished(run, settings_json(settings, "pretrain"))) {
    run.note("{} is there already", (folder.path() / kFinalBackbone).string());
    return fs::exists(folder.skipped_list()) ? kSomeInputsFailed : kSuccess;
  }
  Start start = read_start(settings, files);
  const train::PretrainerOptions options = settings.pretrainer(inputs.size(), start.position_grid);
  Json info = make_info(run, settings_json(settings, "pretrain"),
                        files.weights.empty() ? std::string() : io::checkpoint_sha256(files.weights));
  if (!files.entry.empty()) info["weights_entry"] = files.entry;
  info["inputs"] = inputs.size();
  info["inputs_sha256"] = inputs.digest();
  run.note("{} on {} pictures: {} epochs of {} steps of {}", options.vit.name(), inputs.size(), settings.epochs,
           options.steps_per_epoch, settings.batch);
  if (run.ranks) run.note("{} processes share each batch", run.ranks->size());
  try {
    Pretraining training(run, settings, files, inputs, std::move(start), std::move(info));
    return run.dry_run ? kSuccess : training.run();
  } catch (const train::TooManySkipped& error) {
    fail(error.kind(), fmt::format("{} (most-skipped allows more)", error.what()));
  }
}

}  // namespace usol
