#include "usol/train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/tensor/check.h"
#include "usol/train/adamw.h"
#include "usol/train/sgd.h"
#include "usol/train/sums_of_squares.h"

namespace usol::train {
namespace {

constexpr double kClipEpsilon = 1e-6;  // clip_grad_norm_'s
constexpr std::string_view kVitBlock = "backbone.net.blocks.";
constexpr const char *kMomentum = "momentum/", *kAverage = "exp_avg/", *kSquare = "exp_avg_sq/",
                     *kSteps = "adamw_steps/";

std::string module_of(const std::string& name) {
  const auto dot = name.rfind('.');
  return dot == std::string::npos ? std::string() : name.substr(0, dot);
}

void check_options(const OptimizerOptions& o) {
  const auto share = [](double v) { return v >= 0 && v < 1; };
  check(share(o.beta1) && share(o.beta2) && o.epsilon > 0, ErrorKind::kUsage,
        "optimizer: expected betas from 0 to below 1 and an epsilon above 0, got {}, {} and {}", o.beta1, o.beta2,
        o.epsilon);
}

}  // namespace

bool is_norm_parameter(const ParamStore& store, const std::string& name) {
  const std::string module = module_of(name);
  if (store.entries().contains(module + ".running_var")) return true;
  const auto dot = module.rfind('.');
  return module.substr(dot == std::string::npos ? 0 : dot + 1).starts_with("norm");
}

double layer_factor(const std::string& name, double decay, std::int64_t depth) {
  std::int64_t layer = depth + 1;
  if (name == "backbone.net.pos_embed" || name.starts_with("backbone.net.patch_embed.")) layer = 0;
  if (name.starts_with(kVitBlock)) layer = std::stoll(name.substr(kVitBlock.size())) + 1;
  return std::pow(decay, static_cast<double>(depth + 1 - layer));
}

Optimizer::Optimizer(const ParamStore& store, const OptimizerOptions& options) : options_(options) {
  check_options(options);
  std::vector<std::string> unknown = options.faster;
  std::int64_t depth = 0;
  while (store.entries().contains(fmt::format("{}{}.norm1.weight", kVitBlock, depth))) ++depth;
  check(options.layer_decay == 1 || depth > 0, ErrorKind::kUsage, "optimizer: layer decay is for detectors on a ViT");
  for (const std::string& name : store.names()) {
    const ParamStore::Entry& entry = store.entries().at(name);
    if (entry.kind != ParamStore::Kind::kParameter || !requires_grad(entry.tensor)) continue;
    const Tensor& tensor = entry.tensor;
    check(tensor.dtype() == DType::kF32 && tensor.is_contiguous(),
          "optimizer: expected dense f32 parameters, {} is {} {}", name, tensor.dtype(), tensor.shape());
    const bool faster =
        std::find(options.faster.begin(), options.faster.end(), module_of(name)) != options.faster.end();
    std::erase(unknown, module_of(name));
    Parameter p{
        .name = name, .tensor = tensor, .first = {}, .second = {}, .steps = {}, .decays = true, .rate_factor = 1};
    p.decays = options.decay_rule == DecayRule::kTwoDimensions
                   ? tensor.rank() > 1
                   : !is_norm_parameter(store, name) && !name.ends_with(".pos_embed");
    p.rate_factor = (faster ? options.faster_by : 1) * layer_factor(name, options.layer_decay, depth);
    p.first = Tensor::zeros(tensor.shape(), DType::kF32, tensor.device());
    if (options.kind == OptimizerKind::kAdamW) {
      p.second = Tensor::zeros(tensor.shape(), DType::kF32, tensor.device());
      p.steps = Tensor::zeros({1}, DType::kI64);
    }
    parameters_.push_back(std::move(p));
  }
  check(unknown.empty(), ErrorKind::kUsage, "optimizer: the model has no module {} to learn faster",
        unknown.empty() ? "" : unknown.front());
}

std::vector<Tensor> Optimizer::parameters() const {
  std::vector<Tensor> parameters;
  for (const Parameter& p : parameters_) parameters.push_back(p.tensor);
  return parameters;
}

void Optimizer::move(Parameter& p, const Tensor& gradient, double learning_rate, double scale) {
  const double rate = learning_rate * p.rate_factor;
  const double decay = p.decays ? options_.weight_decay : options_.weight_decay_norm;
  if (options_.kind == OptimizerKind::kSgd) {
    const SgdStep step{.gradient_scale = static_cast<float>(scale),
                       .learning_rate = static_cast<float>(rate),
                       .momentum = static_cast<float>(options_.momentum),
                       .weight_decay = static_cast<float>(decay)};
    sgd_kernel(p.tensor.device(), step, gradient, p.tensor, p.first);
    return;
  }
  const std::int64_t t = ++p.steps.mutable_data<std::int64_t>()[0];
  const AdamWStep step = adamw_step(rate, options_.beta1, options_.beta2, options_.epsilon, decay, scale, t);
  adamw_kernel(p.tensor.device(), step, gradient, p.tensor, p.first, p.second);
}

bool Optimizer::step(double learning_rate, double gradient_scale) {
  const NoGrad no_grad;
  std::vector<Parameter*> moved;
  std::vector<Tensor> gradients;
  for (Parameter& p : parameters_) {
    const Tensor gradient = grad(p.tensor);
    if (!gradient.defined()) continue;
    moved.push_back(&p);
    gradients.push_back(gradient.contiguous());
  }
  gradient_norm_ = 0;
  if (moved.empty()) return true;
  const std::vector<float> sums = sums_of_squares(gradients);
  double total = 0;
  for (float s : sums) total += static_cast<double>(s);
  gradient_norm_ = gradient_scale * std::sqrt(total);
  if (!std::isfinite(total)) return false;
  for (std::size_t i = 0; i < moved.size(); ++i) {
    const double norm = gradient_scale * std::sqrt(static_cast<double>(sums[i]));
    const double clip = options_.clip_norm > 0 ? std::min(1.0, options_.clip_norm / (norm + kClipEpsilon)) : 1.0;
    move(*moved[i], gradients[i], learning_rate, gradient_scale * clip);
  }
  return true;
}

void Optimizer::zero_grad() {
  for (Parameter& p : parameters_) set_grad(p.tensor, {});
}

StateDict Optimizer::state() const {
  StateDict state;
  for (const Parameter& p : parameters_) {
    if (options_.kind == OptimizerKind::kSgd) {
      state[kMomentum + p.name] = p.first;
    } else {
      state[kAverage + p.name] = p.first;
      state[kSquare + p.name] = p.second;
      state[kSteps + p.name] = p.steps;
    }
  }
  return state;
}

bool Optimizer::is_state(const std::string& name) {
  return name.starts_with(kMomentum) || name.starts_with(kAverage) || name.starts_with(kSquare) ||
         name.starts_with(kSteps);
}

void Optimizer::load_state(const StateDict& state) {
  StateDict own = this->state();
  LoadReport report;
  for (const auto& [name, tensor] : own) {
    const auto found = state.find(name);
    if (found == state.end())
      report.missing.push_back(name);
    else if (found->second.shape() != tensor.shape())
      report.mismatched.push_back(fmt::format("{}: expected {}, got {}", name, tensor.shape(), found->second.shape()));
  }
  for (const auto& [name, tensor] : state)
    if (!own.contains(name)) report.unexpected.push_back(name);
  report.require_ok("optimiser state");
  for (auto& [name, tensor] : own) tensor.copy_from(state.at(name));
}

}  // namespace usol::train
