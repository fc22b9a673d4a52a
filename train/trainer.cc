#include "usol/train/trainer.h"

#include <cmath>
#include <utility>

#include "usol/nn/drop_path.h"
#include "usol/ops/elementwise.h"
#include "usol/tensor/check.h"
#include "usol/train/checkpoint.h"

namespace usol::train {
namespace {

// Random streams of steps, beside the loader's: of the samplings, and of layers that draw.
constexpr std::uint64_t kStepStream = 1ull << 61, kLayerStream = kStepStream | 1ull << 60;
constexpr const char* kModel = "model/";
constexpr const char* kEma = "ema/";
constexpr const char* kCounts = "trainer/counts";
constexpr const char* kScale = "trainer/loss_scale";

// Statistics that a forward pass writes, to be put back after a bad step.
class Buffers {
 public:
  explicit Buffers(const ParamStore& store) {
    for (const auto& [name, entry] : store.entries())
      if (entry.kind == ParamStore::Kind::kBuffer) saved_.emplace_back(entry.tensor, entry.tensor.clone());
  }
  void restore() {
    for (auto& [tensor, value] : saved_) tensor.copy_from(value);
  }

 private:
  std::vector<std::pair<Tensor, Tensor>> saved_;
};

detection::Truths truths_of(const Sample& sample, const Device& device) {
  detection::Truths truths{sample.boxes.to(device), Tensor::from(sample.classes, {sample.size()}).to(device),
                           sample.masks.defined() ? sample.masks.to(device) : sample.masks};
  if (sample.embeddings.defined()) truths.embeddings = sample.embeddings.to(device);
  truths.file_height = sample.file_height;
  return truths;
}

}  // namespace

Trainer::Trainer(ParamStore& store, const Detector& model, const TrainerOptions& options)
    : store_(store), model_(model), options_(options), optimizer_(store, options.optimizer) {
  options.schedule.check_valid();
  check(options.accumulate >= 1, ErrorKind::kUsage, "trainer: expected at least one pass a step, got {}",
        options.accumulate);
  if (options.ranks)
    sums_.emplace(optimizer_.parameters(), *options.ranks, GradientSumsOptions{.overlap = options.overlap});
  if (options.ema_decay != 0) ema_.emplace(store, options.ema_decay);
  if (options.precision == DType::kF16) scale_.factor = LossScale::kFirst;
}

// The loss of a share of the batch that begins with that picture of the whole batch; undefined if the model has
// diverged.
Tensor Trainer::pass(std::span<const Sample> batch, std::int64_t first_picture, StepReport& report) const {
  const Device device = store_.entries().begin()->second.tensor.device();
  std::vector<Tensor> pictures;
  std::vector<detection::Truths> truths;
  for (const Sample& sample : batch) {
    pictures.push_back(sample.image);
    truths.push_back(truths_of(sample, device));
  }
  Generator generator(options_.seed, kStepStream | static_cast<std::uint64_t>(iteration_));
  Generator of_layers(options_.seed, kLayerStream | static_cast<std::uint64_t>(iteration_));
  of_layers.set_position(nn::drop_path_start(first_picture));
  detection::Losses losses;
  try {
    losses = model_.losses(pictures, truths, {generator, first_picture, iteration_},
                           {.training = true, .rng = &of_layers, .ranks = options_.ranks, .dtype = options_.precision});
  } catch (const detection::Diverged&) {
    report.total = std::nan("");
    return {};
  }
  const auto passes = static_cast<double>(options_.accumulate);
  Tensor total;
  std::vector<double> values;
  for (const auto& [name, loss] : losses) {
    values.push_back(loss.item());
    total = total.defined() ? add(total, loss) : loss;
  }
  values.push_back(total.item());
  if (options_.ranks) {
    Tensor sums = Tensor::from(values, {static_cast<std::int64_t>(values.size())});
    options_.ranks->all_reduce_sum(sums);
    values = sums.to_vector<double>();
  }
  auto value = values.begin();
  for (const auto& [name, loss] : losses) report.losses[name] += *value++ / passes;
  report.total += *value / passes;
  return total;
}

// Losses and gradients. False if a loss is not finite.
bool Trainer::compute(const std::vector<Sample>& batch, StepReport& report) {
  const std::int64_t passes = options_.accumulate, share = static_cast<std::int64_t>(batch.size()) / passes;
  const std::int64_t rank = options_.ranks ? options_.ranks->rank() : 0;
  const std::int64_t ranks = options_.ranks ? options_.ranks->size() : 1;
  const auto loss = [&](std::int64_t i) {
    const auto pictures =
        std::span(batch).subspan(static_cast<std::size_t>(i * share), static_cast<std::size_t>(share));
    Tensor total = pass(pictures, (i * ranks + rank) * share, report);
    if (std::isfinite(report.total)) collected_scale_ = scale_.factor;
    return total;
  };
  return collect_gradients(passes, scale_.factor / static_cast<double>(passes), optimizer_, sums_ ? &*sums_ : nullptr,
                           report, loss);
}

StepReport Trainer::step(const std::vector<Sample>& batch) {
  check(!batch.empty() && static_cast<std::int64_t>(batch.size()) % options_.accumulate == 0, ErrorKind::kUsage,
        "trainer: a batch of {} pictures for {} passes", batch.size(), options_.accumulate);
  StepReport report;
  report.iteration = iteration_;
  report.learning_rate = options_.schedule.rate(iteration_);
  report.loss_scale = scale_.factor;
  if (ema_ && iteration_ == 0) ema_->reset();  // weights may have been loaded since
  Buffers buffers(store_);
  const bool good_loss = compute(batch, report);
  bool moved = false;
  {
    const AddTime time(report.seconds.optimizer);
    moved = (good_loss || options_.repeat_on_bad_loss) && optimizer_.step(report.learning_rate, 1 / collected_scale_);
  }
  report.gradient_norm = optimizer_.gradient_norm();
  report.bad = !good_loss || !moved;
  if (!moved) buffers.restore();
  if (moved && ema_) ema_->update();
  if (options_.precision == DType::kF16) scale_.update(!report.bad);
  bad_in_a_row_ = report.bad ? bad_in_a_row_ + 1 : 0;
  bad_steps_ += report.bad ? 1 : 0;
  ++iteration_;
  check(bad_in_a_row_ < options_.most_bad_steps, ErrorKind::kInvalidArgument,
        "training: {} steps in a row had no finite loss and gradient, the last one number {}: it has diverged; try a "
        "lower learning rate or a longer warm-up",
        bad_in_a_row_, iteration_);
  return report;
}

StateDict Trainer::state() const {
  StateDict state = optimizer_.state();
  for (const auto& [name, tensor] : store_.state_dict()) state[kModel + name] = tensor;
  if (ema_)
    for (const auto& [name, tensor] : ema_->state()) state[kEma + name] = tensor;
  state[kCounts] = Tensor::from<std::int64_t>({iteration_, bad_steps_, bad_in_a_row_}, {3});
  state[kScale] = Tensor::from<double>({scale_.factor, static_cast<double>(scale_.good_steps)}, {2});
  return state;
}

void Trainer::load_state(const StateDict& state) {
  const auto numbers = [&]<class T>(const char* name, std::int64_t count, T) {
    const auto found = state.find(name);
    check(found != state.end() && found->second.numel() == count, ErrorKind::kFormat,
          "trainer: no {} in the state: not a checkpoint of a training", name);
    return found->second.to_vector<T>();
  };
  const auto counts = numbers(kCounts, 3, std::int64_t{});
  const auto scale = numbers(kScale, 2, double{});
  StateDict of_optimizer;
  for (const auto& [name, tensor] : state)
    if (Optimizer::is_state(name)) of_optimizer[name] = tensor;
  optimizer_.load_state(of_optimizer);
  if (ema_) ema_->load_state(entries_under(state, kEma));
  store_.load(entries_under(state, kModel)).require_ok("model state");
  iteration_ = counts[0];
  bad_steps_ = counts[1];
  bad_in_a_row_ = counts[2];
  scale_ = {.factor = scale[0], .good_steps = static_cast<std::int64_t>(scale[1])};
}

}  // namespace usol::train
