#include "train/trainer.h"

#include <cmath>
#include <set>
#include <utility>

#include "autograd/tape.h"
#include "ops/elementwise.h"
#include "tensor/check.h"

namespace usol::train {
namespace {

constexpr std::uint64_t kStepStream = 1ull << 61;  // random streams of steps, beside the loader's
constexpr const char* kModel = "model/";
constexpr const char* kMomentum = "momentum/";
constexpr const char* kCounts = "trainer/counts";
constexpr const char* kBottom = "backbone.bottom_up.";

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

rcnn::Truths truths_of(const Sample& sample, const Device& device) {
  return {sample.boxes.to(device), Tensor::from(sample.classes, {sample.size()}).to(device), sample.masks.to(device)};
}

StateDict with_prefix(const StateDict& state, const std::string& prefix) {
  StateDict result;
  for (auto it = state.lower_bound(prefix); it != state.end() && it->first.starts_with(prefix); ++it)
    result[it->first.substr(prefix.size())] = it->second;
  return result;
}

}  // namespace

Trainer::Trainer(ParamStore& store, const Rcnn& model, const TrainerOptions& options)
    : store_(store), model_(model), options_(options), sgd_(store, options.sgd) {
  options.schedule.check_valid();
}

// Losses and gradients. False if the loss is not finite.
bool Trainer::compute(const std::vector<Sample>& batch, StepReport& report) {
  const Device device = store_.entries().begin()->second.tensor.device();
  std::vector<Tensor> pictures;
  std::vector<rcnn::Truths> truths;
  for (const Sample& sample : batch) {
    pictures.push_back(sample.image);
    truths.push_back(truths_of(sample, device));
  }
  Generator generator(options_.seed, kStepStream | static_cast<std::uint64_t>(iteration_));
  const rcnn::Sampler sampler = rcnn::random_sampler(generator);
  rcnn::Losses losses;
  try {
    losses = model_.losses(pictures, truths, sampler, {.training = true, .rng = &generator});
  } catch (const rcnn::Diverged&) {
    report.total = std::nan("");
    return false;
  }
  Tensor total;
  for (const auto& [name, loss] : losses) {
    report.losses[name] = loss.item();
    total = total.defined() ? add(total, loss) : loss;
  }
  report.total = total.item();
  if (!std::isfinite(report.total)) return false;
  sgd_.zero_grad();
  backward(total);
  return true;
}

StepReport Trainer::step(const std::vector<Sample>& batch) {
  check(!batch.empty(), "trainer: an empty batch");
  StepReport report{.iteration = iteration_, .losses = {}};
  report.learning_rate = options_.schedule.rate(iteration_);
  Buffers buffers(store_);
  const bool good_loss = compute(batch, report);
  const bool moved = (good_loss || options_.repeat_on_bad_loss) && sgd_.step(report.learning_rate);
  report.gradient_norm = sgd_.gradient_norm();
  report.bad = !good_loss || !moved;
  if (!moved) buffers.restore();
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
  StateDict state;
  for (const auto& [name, tensor] : store_.state_dict()) state[kModel + name] = tensor;
  for (const auto& [name, tensor] : sgd_.state()) state[kMomentum + name] = tensor;
  state[kCounts] = Tensor::from<std::int64_t>({iteration_, bad_steps_, bad_in_a_row_}, {3});
  return state;
}

void Trainer::load_state(const StateDict& state) {
  const auto counts = state.find(kCounts);
  check(counts != state.end() && counts->second.numel() == 3, ErrorKind::kFormat,
        "trainer: no {} in the state: not a checkpoint of a training", kCounts);
  sgd_.load_state(with_prefix(state, kMomentum));
  store_.load(with_prefix(state, kModel)).require_ok("model state");
  const auto values = counts->second.to_vector<std::int64_t>();
  iteration_ = values[0];
  bad_steps_ = values[1];
  bad_in_a_row_ = values[2];
}

StartReport start_from(ParamStore& store, const StateDict& state, const std::string& what) {
  StartReport report;
  std::set<std::string> used;
  for (const std::string& name : store.names()) {
    auto found = state.find(name);
    if (found == state.end() && name.starts_with(kBottom))
      found = state.find(name.substr(std::string_view(kBottom).size()));
    if (found == state.end()) {
      report.fresh.push_back(name);
      continue;
    }
    used.insert(found->first);
    Tensor tensor = store.entries().at(name).tensor;
    if (tensor.shape() != found->second.shape()) {
      report.mismatched.push_back(fmt::format("{}: expected {}, got {}", name, tensor.shape(), found->second.shape()));
      report.fresh.push_back(name);
      continue;
    }
    tensor.copy_from(found->second);
    report.loaded.push_back(name);
  }
  for (const auto& [name, tensor] : state)
    if (!used.contains(name)) report.unused.push_back(name);
  check(!report.loaded.empty(), ErrorKind::kFormat,
        "{}: none of its tensors fits the detector; expected a detector or a ResNet under Detectron2's names", what);
  return report;
}

}  // namespace usol::train
