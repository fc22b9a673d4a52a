#include "usol/pipeline/train_job.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "usol/io/checkpoint.h"
#include "usol/io/checkpoint_files.h"
#include "usol/io/draw.h"
#include "usol/io/image.h"
#include "usol/io/json_text.h"
#include "usol/io/output_folder.h"
#include "usol/io/safetensors.h"
#include "usol/io/sha256.h"
#include "usol/models/detector.h"
#include "usol/ops/rank_values.h"
#include "usol/pipeline/detect.h"
#include "usol/pipeline/detector_categories.h"
#include "usol/pipeline/free_memory.h"
#include "usol/pipeline/overlay.h"
#include "usol/pipeline/progress.h"
#include "usol/pipeline/provenance.h"
#include "usol/pipeline/reading.h"
#include "usol/pipeline/step_memory.h"
#include "usol/pipeline/train_eval.h"
#include "usol/pipeline/training_folder.h"
#include "usol/tensor/allocator.h"
#include "usol/tensor/check.h"
#include "usol/train/checkpoint.h"
#include "usol/train/loader.h"
#include "usol/train/metrics.h"
#include "usol/train/picture_check.h"
#include "usol/train/precise_bn.h"
#include "usol/train/skipped_pictures.h"
#include "usol/train/start_from.h"
#include "usol/train/trainer.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol {
namespace {

constexpr const char* kOpenLine = "metrics";  // keys of a checkpoint's metadata
constexpr const char* kDue = "due";
constexpr const char* kSkipped = "skipped";
constexpr const char* kFinalEma = "model_final_ema.safetensors";

TrainingFolder folder_of(const std::string& out, std::int64_t keep = 1) {
  return {out, {kFinalModel, kFinalEma}, keep};
}

void check_files(const Run& run, const TrainConfig& settings, const TrainFiles& files) {
  check(!files.out.empty(), ErrorKind::kUsage, "out is missing: the folder of all results");
  check(!files.annotations.empty(), ErrorKind::kUsage, "annotations are missing: a COCO file with {}",
        settings.detector.chosen().learns_masks() ? "masks" : "boxes");
  check(!files.image_root.empty(), ErrorKind::kUsage, "image-root is missing: the folder of the pictures");
  check(settings.truth_boxes != "masks" || settings.detector.chosen().learns_masks(), ErrorKind::kUsage,
        "truth-boxes masks: this detector learns from boxes alone, and reads no masks");
  const std::vector<std::string> reads{files.annotations, files.weights, settings.eval_annotations};
  for (const std::string& file : reads)
    check(file.empty() || fs::exists(file), ErrorKind::kUsage, "{}: no such file", file);
  check(files.entry.empty() || !files.weights.empty(), ErrorKind::kUsage, "entry {}: is for weights", files.entry);
  folder_of(files.out).check_outputs(run, reads, settings.pictures_every > 0);
}

// `speaks`: in one of the processes that do it.
void start_from_weights(const Run& run, bool speaks, const TrainFiles& files, ParamStore& store) {
  const std::string& weights = files.weights;
  const train::StartReport report =
      train::start_from(store, io::load_checkpoint(weights, {.entry = files.entry}).tensors, weights);
  if (!speaks) return;
  run.note("{}: {} of the detector's {} tensors; {} start anew", weights, report.loaded.size(), store.names().size(),
           report.fresh.size());
  for (const auto& text : report.mismatched) run.warn("{}: {}", weights, text);
  for (const auto& name : report.fresh) run.detail("starts anew: {}", name);
  for (const auto& name : report.unused) run.detail("not used: {}", name);
}

// Sizes that differ are an error: which of picture and annotations is right cannot be known.
void require_sizes(const train::PictureReport& report) {
  constexpr std::size_t kShown = 5;
  if (report.mismatched.empty()) return;
  std::vector<std::string> first;
  bool exif = false;
  for (const auto& mismatch : report.mismatched) {
    exif = exif || mismatch.fits_with_other_exif;
    if (first.size() < kShown) first.push_back(to_string(mismatch));
  }
  fail(ErrorKind::kFormat,
       fmt::format("{} of {} pictures have another size than their annotations say: {}{}{}", report.mismatched.size(),
                   report.pictures, fmt::join(first, "; "), report.mismatched.size() > first.size() ? "; ..." : "",
                   !exif               ? ""
                   : report.apply_exif ? " (without turning by EXIF, pictures are taken as they are stored)"
                                       : " (with EXIF applied, pictures are turned as it says)"));
}

// Nothing may be missing in what a detector is scored with: the numbers would be others.
void require_pictures(const train::PictureReport& report) {
  require_sizes(report);
  check(report.unreadable.empty(), ErrorKind::kFormat, "{} of {} pictures of the evaluation cannot be read: {}{}",
        report.unreadable.size(), report.pictures, report.unreadable.front().why,
        report.unreadable.size() > 1 ? "; ..." : "");
}

void note_rate(const Run& run, const char* of_what, const train::PictureReport& report) {
  run.note("{}: headers of {} pictures read in {:.1f} s, {:.0f} a second", of_what, report.pictures, report.seconds,
           static_cast<double>(report.pictures) / std::max(report.seconds, 1e-3));
}

void check_evaluation_pictures(const Run& run, const TrainEvaluation& evaluation) {
  say_reading(run, evaluation.truth());
  const train::PictureReport report = evaluation.check_pictures([&] { return run.stop_asked() != 0; });
  run.throw_if_stopped();
  note_rate(run, "evaluation", report);
  require_pictures(report);
}

// What comes between two steps and is not done yet: precise batch norms, then a checkpoint, then evaluation. Kept in
// checkpoints by these names.
enum class Due { kNothing, kEvaluation, kAll };

const char* name_of(Due due) { return due == Due::kAll ? "all" : due == Due::kEvaluation ? "evaluation" : ""; }
Due parse_due(const std::string& name) {
  return name == "all" ? Due::kAll : name == "evaluation" ? Due::kEvaluation : Due::kNothing;
}

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// A picture with the objects that are to be learned.
Tensor draw_truth(const train::Sample& sample) {
  std::vector<Tensor> masks;
  std::vector<io::OverlayObject> boxes;
  const std::vector<float> sides = sample.boxes.to_vector<float>();
  for (std::int64_t k = 0; k < sample.size(); ++k) {
    const float* const b = sides.data() + 4 * k;
    if (sample.masks.defined())
      masks.push_back(sample.masks.select(0, k).contiguous());
    else
      boxes.push_back({{}, std::array<double, 4>{b[0], b[1], b[2] - b[0], b[3] - b[1]}, {}});
  }
  return sample.masks.defined() ? draw_masks(sample.image, masks) : io::draw_overlay(sample.image, boxes);
}

// A training in progress: its parts, and what goes on between them.
class Training {
 public:
  Training(const Run& run, const TrainConfig& settings, const TrainFiles& files, const train::Dataset& data, Json info)
      : run_(run),
        ranks_(run.ranks),
        leads_(run.leads()),
        settings_(settings),
        files_(files),
        folder_(folder_of(files.out, settings.output.keep)),
        data_(data),
        info_(std::move(info)),
        skipped_(
            data.size(), [&data](std::int64_t index) { return data.why_unreadable(index); }, settings.most_skipped,
            run.ranks),
        seed_(static_cast<std::uint64_t>(run.seed)),
        device_(run.device),
        store_(seed_, device_),
        model_(settings.make_detector(data.classes())(Scope(store_), device_, DType::kF32)),
        loading_(shared(settings.loading(seed_))),
        trainer_(store_, *model_, trainer_options()) {
    if (!settings.eval_annotations.empty()) evaluation_.emplace(settings, data.classes());
    if (!trainer_.sums()) return;
    std::vector<double> mib;
    for (const std::int64_t bytes : trainer_.sums()->bucket_bytes())
      mib.push_back(static_cast<double>(bytes) / (1 << 20));
    run_.detail("gradients travel in {} buckets of {:.2f} MiB", mib.size(), fmt::join(mib, ", "));
  }

  /// Looks at the headers of all pictures, of the evaluation's too. Throws Error for what would end the training later.
  void check_pictures() {
    train::PictureReport report;
    if (leads_) {
      say_reading(run_, data_.annotations());
      report = data_.check_pictures([&] { return run_.stop_asked() != 0; });
      run_.throw_if_stopped();
      note_rate(run_, "training", report);
      require_sizes(report);
      if (evaluation_) check_evaluation_pictures(run_, *evaluation_);
    }
    note_skipped(report.unreadable);
  }

  /// Says what a step takes of a CPU's memory; measured are steps in f32.
  void say_memory() const {
    if (leads_ && device_.is_cpu() && run_.precision == DType::kF32)
      say_step_memory(run_, step_work(settings_, data_, *model_, store_, ranks_ ? ranks_->size() : 1), free_memory());
  }

  /// Takes the weights, as a training does before its first step.
  void take_weights() {
    if (!files_.weights.empty()) start_from_weights(run_, leads_, files_, store_);
  }

  /// Takes the weights, or what a former run has left, and trains. Returns the exit status.
  int run() {
    wait_for_ranks();  // all have looked at the folder before anything changes in it
    if (run_.replaces() && leads_) folder_.remove();
    if (leads_) {
      fs::create_directories(folder_.path());
      folder_.remove_unfinished();
    }
    wait_for_ranks();
    std::string open_line;
    Due due = Due::kNothing;
    if (run_.continues() && folder_.checkpoints().newest())
      std::tie(open_line, due) = go_on();
    else
      take_weights();
    check_same_start();
    train::Loader loader(data_, loading_, trainer_.iteration());
    std::optional<train::Metrics> metrics;
    if (leads_) metrics.emplace(folder_.metrics(), trainer_.iteration(), open_line, due != Due::kNothing);
    metrics_ = metrics ? &*metrics : nullptr;
    write_skipped();
    if (metrics && metrics->damaged_lines() > 0)
      run_.warn("{}: {} of its lines {} cut short or damaged and left out", folder_.metrics().string(),
                metrics->damaged_lines(), metrics->damaged_lines() == 1 ? "was" : "were");
    Progress progress(run_, trainer_.iterations(), "steps", trainer_.iteration());
    if (due != Due::kNothing && !between_steps(due)) return stopped();
    while (!trainer_.finished()) {
      const auto begin = Clock::now();
      const std::vector<train::Sample> batch = loader.next();
      const double data_seconds = since(begin);
      note_skipped(loader.take_skipped());
      const train::StepReport report = trainer_.step(batch);
      if (report.bad && leads_)
        run_.warn("step {}: loss or gradient is not finite; {} such steps{}", report.iteration + 1,
                  trainer_.bad_steps(),
                  report.loss_scale == trainer_.loss_scale().factor
                      ? ""
                      : fmt::format("; losses are scaled by {} from now on", trainer_.loss_scale().factor));
      progress.step(report.bad);
      if (leads_) {
        metrics->add(report, data_seconds, since(begin));
        if (settings_.pictures_every > 0 && trainer_.iteration() % settings_.pictures_every == 0) draw(batch);
        if (trainer_.iteration() % settings_.output.log_every == 0 || trainer_.finished()) {
          const std::string line = metrics->write(trainer_.iterations(), allocator(device_.type).stats().peak_bytes);
          if (!line.empty()) run_.note("{}", line);
        }
      }
      if (!between_steps(Due::kAll)) return stopped();
    }
    progress.finish();
    const int status = skipped_.size() > 0 ? kSomeInputsFailed : kSuccess;
    if (!leads_) return status;
    if (trainer_.ema()) write_model(kFinalEma, trainer_.ema()->state());
    write_model(kFinalModel, store_.state_dict());
    if (skipped_.size() > 0)
      run_.warn("{} of {} pictures could not be read, others took their places; {} lists them", skipped_.size(),
                data_.size(), folder_.skipped_list().string());
    return status;
  }

 private:
  train::TrainerOptions trainer_options() const {
    train::TrainerOptions options = settings_.trainer(seed_, run_.precision);
    options.ranks = ranks_;
    return options;
  }

  // This rank's share of such batches.
  train::LoaderOptions shared(train::LoaderOptions options) const {
    if (!ranks_) return options;
    options.rank = ranks_->rank();
    options.ranks = ranks_->size();
    options.passes = settings_.accumulate;
    return options;
  }

  void wait_for_ranks() const { of_all_ranks(0, ranks_); }

  // Before files on a network disk have reached every machine, ranks could go on from different states.
  void check_same_start() const {
    for (const double iteration : of_all_ranks(static_cast<double>(trainer_.iteration()), ranks_))
      check(iteration == static_cast<double>(trainer_.iteration()), ErrorKind::kIo,
            "{}: this process goes on after step {}, another one after step {}; do all machines see the same folder?",
            folder_.path().string(), trainer_.iteration(), iteration);
  }

  // True once any rank has caught a signal, on all ranks at once. All must ask.
  bool stop_asked() {
    for (const double number : of_all_ranks(run_.stop_asked(), ranks_))
      if (signal_ == 0) signal_ = static_cast<int>(number);
    return signal_ != 0;
  }

  void write_model(const char* name, const StateDict& state) const {
    train::save_checked(folder_.path() / name, state,
                        {{TrainingFolder::kInfo, io::json_text(info_)},
                         {kCategoriesKey, categories_text(data_.annotations().categories)}});
    run_.note("wrote {}", (folder_.path() / name).string());
  }

  int stopped() const {
    run_.note("stopped after step {}", trainer_.iteration());
    return 128 + signal_;
  }

  // Counts pictures that this rank could not read, and speaks of those of all ranks that are new.
  void note_skipped(const std::vector<train::SkippedPicture>& met) {
    const auto added = skipped_.add(met);
    if (!leads_ || added.empty()) return;
    say_skipped(run_, added);
    if (metrics_ != nullptr) write_skipped();
  }

  void write_skipped() const {
    if (leads_ && skipped_.size() > 0) io::write_file(folder_.skipped_list(), skipped_.text());
  }

  // Brings the trainer to where the newest checkpoint was. Returns the state of its open line of figures, and what
  // was left to do before the next step.
  std::pair<std::string, Due> go_on() {
    train::SavedState saved = folder_.newest(run_, info_, leads_);
    trainer_.load_state(saved.tensors);
    if (const std::string& skipped = saved.metadata[kSkipped]; !skipped.empty()) skipped_.load_state(skipped);
    run_.note("going on after step {}, from {}", trainer_.iteration(), saved.path.string());
    return {saved.metadata[kOpenLine], parse_due(saved.metadata[kDue])};
  }

  void save(Due due) const {
    if (!leads_) return;
    folder_.checkpoints().save(trainer_.iteration(), trainer_.state(),
                               {{TrainingFolder::kInfo, io::json_text(info_)},
                                {kOpenLine, metrics_->state()},
                                {kDue, name_of(due)},
                                {kSkipped, skipped_.state()}});
  }

  // Every so many steps, and after the last one.
  bool is_time(std::int64_t every) const {
    return trainer_.finished() || (every > 0 && trainer_.iteration() % every == 0);
  }

  // What comes after a step. False once a signal has come: everything is saved then, and what could not be finished is
  // noted in the checkpoint. The checkpoint comes before the evaluation, so that one that fails loses nothing.
  bool between_steps(Due due) {
    const bool all = due == Due::kAll, evaluates = evaluation_ && is_time(settings_.eval_every);
    if (all && settings_.precise_bn > 0 && is_time(settings_.precise_bn_every) && !precise_batch_norm()) {
      save(Due::kAll);
      return false;
    }
    const bool stop = stop_asked() && !trainer_.finished();
    const bool saves = all && (stop || is_time(settings_.output.checkpoint_every));
    if (saves) save(evaluates ? Due::kEvaluation : Due::kNothing);
    if (stop) return false;
    if (!evaluates || evaluate()) return true;
    if (all && !saves) save(Due::kEvaluation);
    return false;
  }

  // With the averages of the weights, if there are any. False if a signal came.
  bool evaluate() {
    run_.detail("evaluation on {}", settings_.eval_annotations);
    const train::EmaScope averages(trainer_.ema());
    const auto scores = evaluation_->run(
        *model_, [&] { return stop_asked(); }, ranks_);
    if (!scores || !leads_) return scores.has_value();
    for (const std::string& file : scores->unreadable)
      run_.warn("{}: cannot be read any more; the evaluation counts it as a picture without objects found", file);
    run_.note("{}", metrics_->write_evaluation(trainer_.iteration() - 1, scores->percentages));
    return true;
  }

  // What the first pictures of the batch teach, beside what the detector finds in them.
  void draw(const std::vector<train::Sample>& batch) {
    constexpr std::size_t kMost = 4;
    const std::int64_t step = trainer_.iteration();
    if (!pictures_) pictures_ = std::make_unique<io::OutputFolder>(folder_.pictures());
    for (std::size_t i = 0; i < std::min(batch.size(), kMost); ++i) {
      const train::Sample& sample = batch[i];
      const auto found = find_objects(*model_, sample.image, sample.image, {.score = 0.3, .most = 20});
      const Tensor drawn =
          io::draw_side_by_side({{draw_truth(sample), "to be learned"}, {draw_found(sample.image, found), "found"}});
      const std::vector<std::byte> jpeg = io::encode_jpeg(drawn);
      const std::string name = fmt::format("step_{:07}_{}.jpg", step, i);
      // What is in the way of a picture is no reason to end a training.
      if (pictures_->may_write(name)) {
        pictures_->write(name, jpeg);
      } else {
        run_.warn("{}: is in the way, and was not written by usol; the picture is left out",
                  (pictures_->path() / name).string());
      }
      metrics_->events().add_picture(step - 1, fmt::format("batch/{}", i), drawn.size(0), drawn.size(1), jpeg);
    }
  }

  // Of the weights, and of their averages if there are any.
  bool precise_batch_norm() {
    const auto of_present_weights = [&] {
      run_.detail("statistics of the norms from {} batches", settings_.precise_bn);
      train::Loader loader(data_, shared(settings_.precise_loading(seed_)));
      const bool done = train::precise_batch_norm(
          *model_, store_, settings_.precise_bn, [&] { return loader.next(); }, [&] { return stop_asked(); }, ranks_);
      note_skipped(loader.take_skipped());
      return done;
    };
    if (!of_present_weights()) return false;
    const train::EmaScope averages(trainer_.ema());
    return !trainer_.ema() || of_present_weights();
  }

  const Run& run_;
  Communicator* ranks_;
  bool leads_;
  const TrainConfig& settings_;
  const TrainFiles& files_;
  TrainingFolder folder_;
  const train::Dataset& data_;
  Json info_;
  train::SkippedPictures skipped_;
  std::uint64_t seed_;
  Device device_;
  ParamStore store_;
  std::unique_ptr<Detector> model_;
  train::LoaderOptions loading_;
  train::Trainer trainer_;
  std::optional<TrainEvaluation> evaluation_;
  train::Metrics* metrics_ = nullptr;  // the first rank's
  std::unique_ptr<io::OutputFolder> pictures_;
  int signal_ = 0;  // that stops all ranks
};

}  // namespace

void TrainFiles::declare(Settings& settings) {
  settings.group("Files");
  settings.add("annotations FILE", annotations,
               "COCO file with masks (or boxes, for a detector that learns from boxes alone)", OptionKind::kRun);
  settings.add("image-root DIR", image_root, "The folder of its pictures", OptionKind::kRun);
  settings.add("weights FILE", weights,
               "Start: a ResNet (DINO, MoCo-v2, Detectron2) or a whole detector. Without it, random numbers",
               OptionKind::kRun);
  settings.add("entry NAME", entry,
               "Take this entry of the weights' dict (\"model_ema\", \"a/b\") or names behind a prefix "
               "(\"model/teacher.\", a dot at its end) instead of looking",
               OptionKind::kRun);
  settings.add("out DIR", out, "Folder of all results", OptionKind::kRun);
}

void check_evaluation(const Run& run, const TrainConfig& settings) {
  if (run.leads()) check_evaluation_pictures(run, TrainEvaluation(settings, 1));
}
void remove_training(const fs::path& folder) { folder_of(folder.string()).remove(); }

int run_training(const Run& run, const TrainConfig& settings, const TrainFiles& files) {
  const auto report = settings.pictures.report_at_end(run);
  check_files(run, settings, files);
  const TrainingFolder folder = folder_of(files.out);
  if (run.continues() && folder.is_finished(run, settings_json(settings, "train"))) {
    run.note("{} is there already", (folder.path() / kFinalModel).string());
    return fs::exists(folder.skipped_list()) ? kSomeInputsFailed : kSuccess;
  }
  const bool masks = settings.detector.chosen().learns_masks();
  const std::int64_t embedding = settings.detector.chosen().learned_embedding(parse_preset(settings.preset));
  const train::Dataset data(files.annotations, files.image_root, settings.pictures.decode(),
                            masks ? train::Learned::kMasks : train::Learned::kBoxes, embedding);
  if (!masks && settings.copy_paste)
    run.note("copy-paste is off: it needs masks, and this detector learns from boxes alone");
  if (embedding > 0 && data.embedding() == 0)
    run.note("no object has an embedding (\"emb\"): the detector learns masks alone");
  Json info = make_info(run, settings_json(settings, "train"));
  if (!files.weights.empty()) info["weights_sha256"] = io::checkpoint_sha256(files.weights);
  if (!files.entry.empty()) info["weights_entry"] = files.entry;
  info["annotations_sha256"] = io::sha256_file(files.annotations);
  Training training(run, settings, files, data, std::move(info));
  run.note("{} pictures with {} objects of {} class{}; {} steps of {}", data.size(), data.objects(), data.classes(),
           data.classes() == 1 ? "" : "es", settings.schedule().iterations, settings.batch);
  if (run.ranks) run.note("{} processes share each batch", run.ranks->size());
  try {
    training.check_pictures();
    training.say_memory();
    if (!run.dry_run) return training.run();
    training.take_weights();
    return kSuccess;
  } catch (const train::TooManySkipped& error) {
    fail(error.kind(), fmt::format("{} (most-skipped allows more)", error.what()));
  }
}

}  // namespace usol
