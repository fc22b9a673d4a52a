#include "usol/train/ema.h"

#include "usol/autograd/grad_mode.h"
#include "usol/ops/elementwise.h"
#include "usol/tensor/check.h"

namespace usol::train {

void move_average(Tensor& average, const Tensor& now, double decay) {
  average.copy_from(add(affine(average, decay), affine(now.detach(), 1 - decay)));
}

Ema::Ema(const ParamStore& store, double decay) : store_(store), decay_(decay) {
  check(decay > 0 && decay < 1, ErrorKind::kUsage, "ema: expected a decay above 0 and below 1, got {}", decay);
  reset();
}

void Ema::reset() {
  for (const auto& [name, entry] : store_.entries()) averages_[name] = entry.tensor.detach().clone();
}

void Ema::update() {
  const NoGrad no_grad;
  for (auto& [name, average] : averages_) move_average(average, store_.entries().at(name).tensor, decay_);
}

void Ema::swap() {
  const NoGrad no_grad;
  for (auto& [name, average] : averages_) {
    Tensor tensor = store_.entries().at(name).tensor;
    const Tensor now = tensor.detach().clone();
    tensor.copy_from(average);
    average.copy_from(now);
  }
}

void Ema::load_state(const StateDict& state) {
  LoadReport report;
  for (const auto& [name, average] : averages_) {
    const auto found = state.find(name);
    if (found == state.end())
      report.missing.push_back(name);
    else if (found->second.shape() != average.shape())
      report.mismatched.push_back(fmt::format("{}: expected {}, got {}", name, average.shape(), found->second.shape()));
  }
  for (const auto& [name, tensor] : state)
    if (!averages_.contains(name)) report.unexpected.push_back(name);
  report.require_ok("averaged weights");
  for (auto& [name, average] : averages_) average.copy_from(state.at(name));
}

}  // namespace usol::train
