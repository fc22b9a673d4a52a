#include "train/sgd.h"

#include <algorithm>
#include <cmath>

#include "autograd/grad_mode.h"
#include "autograd/tape.h"
#include "ops/concat.h"
#include "ops/elementwise.h"
#include "ops/reduce.h"
#include "tensor/check.h"
#include "tensor/parallel.h"

namespace usol::train {

constinit Kernel<void(const SgdStep&, const Tensor&, Tensor&, Tensor&)> sgd_kernel{"sgd"};

namespace {

constexpr double kClipEpsilon = 1e-6;  // clip_grad_norm_'s

std::string module_of(const std::string& name) {
  const auto dot = name.rfind('.');
  return dot == std::string::npos ? std::string() : name.substr(0, dot);
}

// PyTorch's order of roundings.
void sgd_cpu(const SgdStep& step, const Tensor& gradient, Tensor& parameter, Tensor& momentum) {
  const float* g = gradient.data<float>();
  float* p = parameter.mutable_data<float>();
  float* m = momentum.mutable_data<float>();
  parallel_for(0, parameter.numel(), 1 << 14, [&, step](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      m[i] = step.momentum * m[i] + (step.gradient_scale * g[i] + step.weight_decay * p[i]);
      p[i] -= step.learning_rate * m[i];
    }
  });
}

const Register r(sgd_kernel, DeviceType::kCpu, sgd_cpu);

}  // namespace

bool is_norm_parameter(const ParamStore& store, const std::string& name) {
  const std::string module = module_of(name);
  if (store.entries().contains(module + ".running_var")) return true;
  const auto dot = module.rfind('.');
  return module.substr(dot == std::string::npos ? 0 : dot + 1).starts_with("norm");
}

Sgd::Sgd(const ParamStore& store, const SgdOptions& options) : options_(options) {
  std::vector<std::string> unknown = options.faster;
  for (const std::string& name : store.names()) {
    const ParamStore::Entry& entry = store.entries().at(name);
    if (entry.kind != ParamStore::Kind::kParameter || !requires_grad(entry.tensor)) continue;
    const Tensor& tensor = entry.tensor;
    check(tensor.dtype() == DType::kF32 && tensor.is_contiguous(), "sgd: expected dense f32 parameters, {} is {} {}",
          name, tensor.dtype(), tensor.shape());
    const bool faster =
        std::find(options.faster.begin(), options.faster.end(), module_of(name)) != options.faster.end();
    std::erase(unknown, module_of(name));
    parameters_.push_back({name, tensor, Tensor::zeros(tensor.shape(), DType::kF32, tensor.device()),
                           is_norm_parameter(store, name) ? options.weight_decay_norm : options.weight_decay,
                           faster ? options.faster_by : 1});
  }
  check(unknown.empty(), ErrorKind::kUsage, "sgd: the model has no module {} to learn faster",
        unknown.empty() ? "" : unknown.front());
}

bool Sgd::step(double learning_rate) {
  const NoGrad no_grad;
  std::vector<Parameter*> moved;
  std::vector<Tensor> gradients, squares;
  for (Parameter& p : parameters_) {
    const Tensor gradient = grad(p.tensor);
    if (!gradient.defined()) continue;
    moved.push_back(&p);
    gradients.push_back(gradient.contiguous());
    squares.push_back(sum(mul(gradients.back(), gradients.back())).reshape({1}));
  }
  gradient_norm_ = 0;
  if (moved.empty()) return true;
  // One transfer from the device for all of them.
  const std::vector<float> sums = concat(squares).to(Device{}).to_vector<float>();
  double total = 0;
  for (float s : sums) total += static_cast<double>(s);
  gradient_norm_ = std::sqrt(total);
  if (!std::isfinite(total)) return false;
  for (std::size_t i = 0; i < moved.size(); ++i) {
    Parameter& p = *moved[i];
    SgdStep step{.learning_rate = static_cast<float>(learning_rate * p.rate_factor),
                 .momentum = static_cast<float>(options_.momentum),
                 .weight_decay = static_cast<float>(p.weight_decay)};
    if (options_.clip_norm > 0)
      step.gradient_scale = static_cast<float>(
          std::min(1.0, options_.clip_norm / (std::sqrt(static_cast<double>(sums[i])) + kClipEpsilon)));
    sgd_kernel(p.tensor.device(), step, gradients[i], p.tensor, p.momentum);
  }
  return true;
}

void Sgd::zero_grad() {
  for (Parameter& p : parameters_) set_grad(p.tensor, {});
}

StateDict Sgd::state() const {
  StateDict state;
  for (const Parameter& p : parameters_) state[p.name] = p.momentum;
  return state;
}

void Sgd::load_state(const StateDict& state) {
  LoadReport report;
  std::size_t known = 0;
  for (const Parameter& p : parameters_) {
    const auto found = state.find(p.name);
    if (found == state.end()) {
      report.missing.push_back(p.name);
      continue;
    }
    ++known;
    if (found->second.shape() != p.momentum.shape())
      report.mismatched.push_back(
          fmt::format("{}: expected {}, got {}", p.name, p.momentum.shape(), found->second.shape()));
  }
  if (known != state.size())
    for (const auto& [name, tensor] : state)
      if (std::none_of(parameters_.begin(), parameters_.end(), [&](const auto& p) { return p.name == name; }))
        report.unexpected.push_back(name);
  report.require_ok("optimiser state");
  for (Parameter& p : parameters_) p.momentum.copy_from(state.at(p.name));
}

}  // namespace usol::train
