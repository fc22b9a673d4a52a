// A step of DINO's pre-training, crops given: "pretrain/step" (teacher, student, loss, gradients, AdamW, the average),
// with the seconds of each part and the first step's loss as counters. Runs only where USOL_PRETRAIN_CASE names a
// .safetensors file of the public code's student ("backbone.*", "head.*") and "case.globals" f32 [N, 2, 3, S, S],
// "case.locals" f32 [N, locals, 3, s, s]. For bench/compare_pretrain.py.
#include <benchmark/benchmark.h>

#include <string>

#include "bench/benchmarks.h"
#include "bench/given_case.h"
#include "usol/io/safetensors.h"
#include "usol/tensor/check.h"
#include "usol/train/checkpoint.h"
#include "usol/train/pretrainer.h"

namespace usol {
namespace {

// Takes the crops out of `tensors`.
train::CropBatch take_crops(StateDict& tensors) {
  train::CropBatch batch{tensors.at("case.globals"), tensors.at("case.locals"), {}};
  tensors.erase("case.globals");
  tensors.erase("case.locals");
  return batch;
}

void step(benchmark::State& state, const std::string& path) {
  StateDict tensors = io::load_safetensors(path);
  const train::CropBatch batch = take_crops(tensors);
  const auto config = vit_config(train::entries_under(tensors, "backbone."));
  check(config.has_value(), ErrorKind::kFormat, "{}: no vision transformer", path);
  train::PretrainerOptions options;
  options.vit = *config;
  options.head = {.hidden = tensors.at("head.mlp.0.weight").size(0),
                  .bottleneck = tensors.at("head.last_layer.weight_v").size(1),
                  .out = tensors.at("head.last_layer.weight_v").size(0)};
  options.rate = {.first = 1e-5, .last = 1e-5, .iterations = 1000};
  options.weight_decay = {.first = 0.04, .last = 0.04, .iterations = 1000};
  options.momentum = {.first = 0.996, .last = 1, .iterations = 1000};
  options.steps_per_epoch = 1000;
  train::Pretrainer pretrainer(options, {});
  StateDict start = pretrainer.state();
  for (const auto& [name, tensor] : tensors)
    for (const char* network : {"student/", "teacher/"})
      if (start.contains(network + name)) start[network + name] = tensor;
  pretrainer.load_state(start);
  train::StepReport report = pretrainer.step(batch);  // memory is fetched from the system
  state.counters["loss"] = report.total;
  for (auto _ : state) report = pretrainer.step(batch);
  state.counters["forward"] = report.seconds.forward;
  state.counters["backward"] = report.seconds.backward;
  state.counters["optimizer"] = report.seconds.optimizer;
}

}  // namespace

void register_pretrain_benchmarks() { register_given_case("USOL_PRETRAIN_CASE", {{"pretrain/step", step}}); }

}  // namespace usol
