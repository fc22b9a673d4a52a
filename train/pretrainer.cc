#include "usol/train/pretrainer.h"

#include <cmath>
#include <utility>
#include <vector>

#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/nn/drop_path.h"
#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/gather.h"
#include "usol/ops/reduce.h"
#include "usol/ops/view.h"
#include "usol/tensor/check.h"
#include "usol/train/checkpoint.h"
#include "usol/train/ema.h"

namespace usol::train {
namespace {

// Random streams of drop path, beside the loader's: of the global crops, and of the local ones.
constexpr std::uint64_t kGlobalStream = 1ull << 61 | 1ull << 60, kLocalStream = kGlobalStream | 1ull << 59;
constexpr const char *kBackbone = "backbone", *kHead = "head", *kLastLayer = "head.last_layer.";
constexpr const char *kStudent = "student/", *kTeacher = "teacher/", *kCentre = "centre",
                     *kPatchCentre = "patch_centre";
constexpr const char *kCounts = "pretrainer/counts", *kScale = "pretrainer/loss_scale";

VitConfig for_teacher(VitConfig vit) {
  vit.drop_path = 0;
  return vit;
}

OptimizerOptions optimizer_options(const PretrainerOptions& o) {
  return {.kind = OptimizerKind::kAdamW, .decay_rule = DecayRule::kTwoDimensions, .clip_norm = o.clip_norm};
}

// [N, C, ...] -> [N C, ...]
Tensor flat(const Tensor& crops) {
  const Shape& s = crops.shape();
  return crops.reshape({s[0] * s[1], s[2], s[3], s[4]});
}

Tensor class_token(const Tensor& tokens) { return select(tokens, 1, 0); }

// The tokens of all patches as rows: [N, 1 + L, D] -> [N L, D].
Tensor patch_tokens(const Tensor& tokens) {
  const Tensor patches = slice(tokens, 1, 1, tokens.size(1));
  return reshape(patches, {patches.size(0) * patches.size(1), patches.size(2)});
}

// Pictures `first` to `last` of a batch.
CropBatch part_of(const CropBatch& batch, std::int64_t first, std::int64_t last) {
  const auto part = [&](const Tensor& crops) { return crops.defined() ? crops.slice(0, first, last) : crops; };
  return {part(batch.globals), part(batch.locals), part(batch.hidden)};
}

}  // namespace

double TemperatureSchedule::value(std::int64_t epoch) const {
  if (epoch >= warmup_epochs) return last;
  if (warmup_epochs == 1) return first;
  return first + (last - first) * static_cast<double>(epoch) / static_cast<double>(warmup_epochs - 1);
}

// Patches that are hidden from the student; nothing is defined if there are none.
struct Pretrainer::Hidden {
  Tensor mask;     // bool [2 N, patches]
  Tensor index;    // i64 [M], of all patches of all crops
  Tensor weights;  // f32 [M]: 1 / the number that is hidden in the crop

  Hidden(const Tensor& hidden, const Device& device) {
    if (!hidden.defined()) return;
    const std::int64_t crops = hidden.size(0) * hidden.size(1), patches = hidden.size(2);
    const std::vector<std::uint8_t> cells = hidden.to_vector<std::uint8_t>();
    std::vector<std::int64_t> places;
    std::vector<float> shares;
    for (std::int64_t crop = 0; crop < crops; ++crop) {
      const std::size_t before = places.size();
      for (std::int64_t i = crop * patches; i < (crop + 1) * patches; ++i)
        if (cells[static_cast<std::size_t>(i)] != 0) places.push_back(i);
      shares.resize(places.size(), 1 / static_cast<float>(places.size() - before));
    }
    mask = hidden.reshape({crops, patches}).to(DType::kBool).to(device);
    if (places.empty()) return;
    const auto count = static_cast<std::int64_t>(places.size());
    index = Tensor::from(places, {count}).to(device);
    weights = Tensor::from(shares, {count}).to(device);
  }
};

struct Pretrainer::Taught {
  Tensor scores, log_probabilities;          // [2 N, K], of the crops
  Tensor features;                           // [2 N, D]
  Tensor patch_scores, patch_probabilities;  // [1, K], the sum over crops of their patches' mean scores; [M, K]
};

Pretrainer::Pretrainer(const PretrainerOptions& options, Device device)
    : options_(options),
      device_(device),
      student_store_(options.seed, device),
      teacher_store_(options.seed, device),
      student_(Scope(student_store_) / kBackbone, options.vit),
      student_head_(Scope(student_store_) / kHead, options.vit.width, options.head),
      teacher_(Scope(teacher_store_) / kBackbone, for_teacher(options.vit)),
      teacher_head_(Scope(teacher_store_) / kHead, options.vit.width, options.head),
      centre_(Tensor::zeros({options.head.out}, DType::kF32, device)),
      patch_centre_(Tensor::zeros({options.head.out}, DType::kF32, device)),
      optimizer_(student_store_, optimizer_options(options)) {
  const PretrainerOptions& o = options_;
  check(o.rate.iterations > 0 && o.rate.warmup < o.rate.iterations && o.steps_per_epoch > 0, ErrorKind::kUsage,
        "pretrainer: expected more steps than those of the warm-up, got {} and {}", o.rate.iterations, o.rate.warmup);
  check(o.student_temperature > 0 && o.teacher_temperature.first > 0 && o.teacher_temperature.last > 0,
        ErrorKind::kUsage, "pretrainer: expected temperatures above 0, got {}, {} and {}", o.student_temperature,
        o.teacher_temperature.first, o.teacher_temperature.last);
  check(o.accumulate >= 1, ErrorKind::kUsage, "pretrainer: expected at least one pass a step, got {}", o.accumulate);
  check(o.patch_weight == 0 || o.vit.mask_token, "pretrainer: hidden patches need a mask token");
  teacher_store_.load(student_store_.state_dict()).require_ok("teacher");
  if (o.ranks) sums_.emplace(optimizer_.parameters(), *o.ranks, GradientSumsOptions{.overlap = o.overlap});
  if (o.precision == DType::kF16) scale_.factor = LossScale::kFirst;
}

void Pretrainer::start_from(const StateDict& backbone, const std::string& what) {
  StateDict named = student_store_.state_dict();
  std::erase_if(named, [](const auto& entry) {
    return !entry.first.starts_with(kHead) && entry.first != std::string(kBackbone) + ".mask_token";
  });
  for (const auto& [name, tensor] : backbone)
    if (!name.starts_with(kHead)) named[fmt::format("{}.{}", kBackbone, name)] = tensor;
  student_store_.load(named).require_ok(what);
  teacher_store_.load(student_store_.state_dict()).require_ok("teacher");
}

Pretrainer::Taught Pretrainer::teach(const Tensor& globals, const Hidden& hidden) const {
  const NoGrad no_grad;
  Taught taught;
  const Tensor tokens = teacher_.forward(globals, {.dtype = options_.precision});
  taught.features = class_token(tokens).to(DType::kF32);
  taught.scores = teacher_head_(class_token(tokens));
  const double temperature = options_.teacher_temperature.value(epoch());
  taught.log_probabilities = teacher_log_probabilities(taught.scores, centre_, temperature);
  if (!hidden.mask.defined()) return taught;
  const Tensor projected = teacher_head_.project(patch_tokens(tokens));
  // Scores are linear in what is projected, so their mean is that of the mean.
  const std::int64_t patches = hidden.mask.size(1);
  taught.patch_scores = affine(teacher_head_.scores(mean(projected, {0}, true), DType::kF32),
                               static_cast<double>(projected.size(0)) / static_cast<double>(patches));
  if (!hidden.index.defined()) return taught;
  const Tensor scores = teacher_head_.scores(index_select(projected, hidden.index), options_.precision);
  taught.patch_probabilities = exp(teacher_log_probabilities(scores, patch_centre_, temperature));
  return taught;
}

// [N, C, K] of all crops; `patch_scores` becomes those of hidden patches [M, K], if there are any.
Tensor Pretrainer::student_scores(const CropBatch& batch, std::int64_t first_picture, const Hidden& hidden,
                                  Tensor& patch_scores) const {
  const std::int64_t n = batch.globals.size(0), width = options_.vit.width;
  const auto tokens_of = [&](const Tensor& crops, std::uint64_t stream, const Tensor& mask) {
    Generator generator(options_.seed, stream | static_cast<std::uint64_t>(iteration_));
    generator.set_position(nn::drop_path_start(first_picture * crops.size(1)));
    return student_.forward(flat(crops).to(device_), {.training = true, .rng = &generator, .dtype = options_.precision},
                            mask);
  };
  const Tensor tokens = tokens_of(batch.globals, kGlobalStream, hidden.mask);
  Tensor features = reshape(class_token(tokens), {n, 2, width});
  if (batch.locals.defined()) {
    const Tensor locals = class_token(tokens_of(batch.locals, kLocalStream, {}));
    features = concat({features, reshape(locals, {n, batch.locals.size(1), width})}, 1);
  }
  if (hidden.index.defined()) patch_scores = student_head_(index_select(patch_tokens(tokens), hidden.index));
  return student_head_(features);
}

// What passes and ranks have to add up, in one stretch of numbers that travels together.
struct Pretrainer::Totals {
  std::int64_t width, prototypes;  // D, K
  // f32: losses [2] (of the crops, of hidden patches), the teacher's sums [1 + D + K], the sums of its scores [K], and
  // of those of patches [K] if some may be hidden.
  Tensor numbers;

  Tensor part(std::int64_t begin, std::int64_t count) const { return numbers.slice(0, begin, begin + count); }
  Tensor losses() const { return part(0, 2); }
  TeacherSums teacher() const {
    return {.probabilities = part(3 + width, prototypes), .directions = part(3, width), .entropy = part(2, 1)};
  }
  Tensor scores() const { return part(3 + width + prototypes, prototypes); }
  bool has_patches() const { return numbers.numel() > 3 + width + 2 * prototypes; }
  Tensor patch_scores() const { return part(3 + width + 2 * prototypes, prototypes); }
};

// The centres move towards the mean scores of the batch, after its loss.
void Pretrainer::take_centres(const Totals& totals, std::int64_t crops) {
  const NoGrad no_grad;
  const double share = 1 / static_cast<double>(crops);
  move_average(centre_, affine(totals.scores(), share), options_.centre_momentum);
  if (totals.has_patches()) move_average(patch_centre_, affine(totals.patch_scores(), share), options_.centre_momentum);
}

// The loss of a share of the batch, which begins with that picture of the whole batch and has so many of its `crops`
// for the teacher.
Tensor Pretrainer::pass(const CropBatch& batch, std::int64_t first_picture, std::int64_t crops, Totals& totals,
                        StepReport& report) const {
  const std::int64_t n = batch.globals.size(0), k = options_.head.out;
  const double share = 1 / static_cast<double>(crops), student_temperature = options_.student_temperature;
  const Hidden hidden(batch.hidden, device_);
  const Taught taught = teach(flat(batch.globals).to(device_), hidden);
  Tensor patch_scores;
  const Tensor scores = student_scores(batch, first_picture, hidden, patch_scores);
  const Tensor probabilities = exp(taught.log_probabilities).reshape({n, 2, k});
  const Tensor loss = reshape(affine(crops_loss(scores, probabilities, student_temperature), 2 * share), {1});
  Tensor patch_loss = Tensor::zeros({1}, DType::kF32, device_);
  if (patch_scores.defined()) {
    const Tensor sum = patches_loss(patch_scores, taught.patch_probabilities, hidden.weights, student_temperature);
    patch_loss = reshape(affine(sum, share), {1});
  }
  const TeacherSums teacher = TeacherSums::of(taught.log_probabilities, taught.features);
  std::vector<Tensor> parts{loss.detach(),      patch_loss.detach(),   teacher.entropy,
                            teacher.directions, teacher.probabilities, sum(taught.scores, {0})};
  if (taught.patch_scores.defined()) parts.push_back(taught.patch_scores.select(0, 0));
  Tensor numbers = concat(parts);
  if (options_.ranks) options_.ranks->all_reduce_sum(numbers);
  totals.numbers = totals.numbers.defined() ? add(totals.numbers, numbers) : numbers;
  const std::vector<float> losses = totals.losses().to(Device{}).to_vector<float>();
  report.losses["loss_dino"] = static_cast<double>(losses[0]);
  if (options_.patch_weight > 0) report.losses["loss_patch"] = static_cast<double>(losses[1]);
  report.total = static_cast<double>(losses[0]) + options_.patch_weight * static_cast<double>(losses[1]);
  return patch_scores.defined() ? add(loss, affine(patch_loss, options_.patch_weight)) : loss;
}

// Losses, figures, gradients and the next centres. False if a loss is not finite.
bool Pretrainer::compute(const CropBatch& batch, StepReport& report) {
  const std::int64_t n = batch.globals.size(0), share = n / options_.accumulate;
  const std::int64_t rank = options_.ranks ? options_.ranks->rank() : 0;
  const std::int64_t crops = 2 * n * (options_.ranks ? options_.ranks->size() : 1);
  Totals totals{options_.vit.width, options_.head.out, {}};
  const auto loss = [&](std::int64_t i) {
    return pass(part_of(batch, i * share, (i + 1) * share), rank * n + i * share, crops, totals, report);
  };
  if (!collect_gradients(options_.accumulate, scale_.factor, optimizer_, sums_ ? &*sums_ : nullptr, report, loss))
    return false;
  figures_ = totals.teacher().figures(crops);
  report.figures = {{"feature_spread", figures_.spread},
                    {"teacher_entropy", figures_.entropy},
                    {"teacher_information", figures_.information}};
  take_centres(totals, crops);
  return true;
}

void Pretrainer::freeze_last_layer() const {
  if (epoch() >= options_.frozen_epochs) return;
  for (const auto& [name, entry] : student_store_.entries())
    if (name.starts_with(kLastLayer) && requires_grad(entry.tensor)) set_grad(entry.tensor, {});
}

StepReport Pretrainer::step(const CropBatch& batch) {
  check(batch.globals.size(0) > 0 && batch.globals.size(0) % options_.accumulate == 0, ErrorKind::kUsage,
        "pretrainer: {} pictures for {} passes", batch.globals.size(0), options_.accumulate);
  StepReport report;
  report.iteration = iteration_;
  report.learning_rate = options_.rate.value(iteration_);
  report.loss_scale = scale_.factor;
  const Tensor centre = centre_.clone(), patch_centre = patch_centre_.clone();
  bool good = compute(batch, report);
  if (good) {
    const AddTime time(report.seconds.optimizer);
    freeze_last_layer();
    optimizer_.set_weight_decay(options_.weight_decay.value(iteration_));
    good = optimizer_.step(report.learning_rate, 1 / report.loss_scale);
    report.gradient_norm = optimizer_.gradient_norm();
    const NoGrad no_grad;
    const double momentum = options_.momentum.value(iteration_);
    if (good)
      for (const auto& [name, entry] : teacher_store_.entries()) {
        Tensor average = entry.tensor;
        move_average(average, student_store_.entries().at(name).tensor, momentum);
      }
  }
  if (!good) {
    centre_ = centre;
    patch_centre_ = patch_centre;
  }
  report.bad = !good;
  if (options_.precision == DType::kF16) scale_.update(good);
  bad_in_a_row_ = good ? 0 : bad_in_a_row_ + 1;
  bad_steps_ += good ? 0 : 1;
  ++iteration_;
  check(bad_in_a_row_ < options_.most_bad_steps, ErrorKind::kInvalidArgument,
        "pretraining: {} steps in a row had no finite loss and gradient, the last one number {}: it has diverged; try "
        "a lower learning rate, a longer warm-up or f32",
        bad_in_a_row_, iteration_);
  return report;
}

StateDict Pretrainer::backbone() const {
  StateDict state = entries_under(teacher_store_.state_dict(), std::string(kBackbone) + ".");
  state.erase("mask_token");  // of the training; a published backbone has none
  return state;
}

StateDict Pretrainer::state() const {
  StateDict state = optimizer_.state();
  for (const auto& [name, tensor] : student_store_.state_dict()) state[kStudent + name] = tensor;
  for (const auto& [name, tensor] : teacher_store_.state_dict()) state[kTeacher + name] = tensor;
  state[kCentre] = centre_;
  state[kPatchCentre] = patch_centre_;
  state[kCounts] = Tensor::from<std::int64_t>({iteration_, bad_steps_, bad_in_a_row_}, {3});
  state[kScale] = Tensor::from<double>({scale_.factor, static_cast<double>(scale_.good_steps)}, {2});
  return state;
}

void Pretrainer::load_state(const StateDict& state) {
  const auto of_size = [&](const char* name, std::int64_t count) {
    const auto found = state.find(name);
    check(found != state.end() && found->second.numel() == count, ErrorKind::kFormat,
          "pretrainer: no {} of {} numbers in the state: not a checkpoint of this training", name, count);
    return found->second;
  };
  const auto counts = of_size(kCounts, 3).to_vector<std::int64_t>();
  const auto scale = of_size(kScale, 2).to_vector<double>();
  StateDict of_optimizer;
  for (const auto& [name, tensor] : state)
    if (Optimizer::is_state(name)) of_optimizer[name] = tensor;
  optimizer_.load_state(of_optimizer);
  student_store_.load(entries_under(state, kStudent)).require_ok("student");
  teacher_store_.load(entries_under(state, kTeacher)).require_ok("teacher");
  centre_.copy_from(of_size(kCentre, options_.head.out));
  patch_centre_.copy_from(of_size(kPatchCentre, options_.head.out));
  iteration_ = counts[0];
  bad_steps_ = counts[1];
  bad_in_a_row_ = counts[2];
  scale_ = {.factor = scale[0], .good_steps = static_cast<std::int64_t>(scale[1])};
}

}  // namespace usol::train
