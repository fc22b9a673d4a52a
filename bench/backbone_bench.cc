// The detector's backbone, R50 with a feature pyramid: "backbone/infer" (norms folded, weights packed once) and
// "backbone/train" (batch statistics, gradients of the sum of all maps). Runs only where USOL_BACKBONE_CASE names a
// .safetensors file of Detectron2's parameters and "images" [N, 3, H, W]; "backbone/infer" writes its maps to the file
// that USOL_BACKBONE_RESULT names. For bench/compare_backbone.py.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <string>

#include "bench/benchmarks.h"
#include "bench/given_case.h"
#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/io/safetensors.h"
#include "usol/models/fpn.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/reduce.h"

namespace usol {
namespace {

Tensor take_images(StateDict& tensors) {
  const Tensor found = tensors.at("images");
  tensors.erase("images");
  return found;
}

void infer(benchmark::State& state, const std::string& path) {
  const NoGrad no_grad;
  StateDict tensors = io::load_safetensors(path);
  const Tensor images = take_images(tensors);
  ParamStore store(std::move(tensors), Device::cpu(), DType::kF32);
  const Fpn fpn(Scope(store), ResNetConfig{});
  store.load_report().require_ok(path);
  std::vector<Tensor> maps = fpn.forward(images, {});  // folds and packs
  for (auto _ : state) maps = fpn.forward(images, {});
  if (const char* result = std::getenv("USOL_BACKBONE_RESULT")) {
    StateDict named;
    for (std::size_t i = 0; i < maps.size(); ++i) named[fpn.outputs()[i].name] = maps[i];
    io::save_safetensors(result, named);
  }
}

void train(benchmark::State& state, const std::string& path) {
  StateDict tensors = io::load_safetensors(path);
  const Tensor images = take_images(tensors);
  ParamStore store;
  const Fpn fpn(Scope(store), ResNetConfig{});
  store.load(tensors).require_ok(path);
  const auto step = [&] {
    Tensor loss = Tensor::zeros({});
    for (const Tensor& map : fpn.forward(images, {.training = true})) loss = add(loss, sum(map));
    backward(loss);
  };
  step();  // memory is fetched from the system
  for (auto _ : state) step();
}

}  // namespace

void register_backbone_benchmarks() {
  register_given_case("USOL_BACKBONE_CASE", {{"backbone/infer", infer}, {"backbone/train", train}});
}

}  // namespace usol
