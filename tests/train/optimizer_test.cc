// The optimiser against PyTorch, on every device.
#include "usol/train/optimizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/devices.h"
#include "tests/support/golden.h"
#include "usol/autograd/tape.h"
#include "usol/nn/init.h"
#include "usol/ops/elementwise.h"
#include "usol/tensor/error.h"

namespace usol::train {
namespace {

constexpr const char* kNames[] = {"body.weight", "body.norm.weight", "body.norm.bias", "head.weight", "head.bias"};

void build(ParamStore& store, const StateDict& golden) {
  for (const char* name : kNames)
    store.make(name, golden.at(std::string("start/") + name).shape(), ParamStore::Kind::kParameter, init::zeros());
  store.make("body.norm.running_var", {6}, ParamStore::Kind::kBuffer, init::zeros());
  for (const char* name : kNames) {
    Tensor tensor = store.entries().at(name).tensor;
    tensor.copy_from(golden.at(std::string("start/") + name));
  }
}

double worst_difference(const Tensor& a, const Tensor& b) {
  const auto x = a.to_vector<float>(), y = b.to_vector<float>();
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) worst = std::max(worst, static_cast<double>(std::abs(x[i] - y[i])));
  return worst;
}

OptimizerOptions options() { return {.weight_decay = 0.01, .faster = {"head"}, .faster_by = 4}; }

void run_steps(const Device& device) {
  const StateDict golden = test::load_golden("train_steps.safetensors");
  ParamStore store(0, device);
  build(store, golden);
  Optimizer sgd(store, options());
  for (int step = 0; step < 6; ++step) {
    sgd.zero_grad();
    for (const char* name : kNames) {
      const auto found = golden.find("grad/" + std::to_string(step) + "/" + name);
      if (found != golden.end()) set_grad(store.entries().at(name).tensor, found->second.to(device));
    }
    ASSERT_TRUE(sgd.step(0.3));
    for (const char* name : kNames) {
      const Tensor expected = golden.at("after/" + std::to_string(step) + "/" + name);
      // Values reach about 4, and a step rounds a few times.
      EXPECT_LT(worst_difference(store.entries().at(name).tensor, expected), 2e-6) << name << " after step " << step;
    }
  }
}

// Source: Wang et al. 2023 (CutLER), section 4: SGD with momentum, each parameter's gradient clipped; AdamW as in
// PyTorch.
TEST(Optimizer, DefaultsAreThePapers) {
  const OptimizerOptions defaults;
  EXPECT_EQ(defaults.kind, OptimizerKind::kSgd);
  EXPECT_EQ(defaults.momentum, 0.9);
  EXPECT_EQ(defaults.weight_decay, 5e-5);
  EXPECT_EQ(defaults.weight_decay_norm, 0);
  EXPECT_EQ(defaults.clip_norm, 1);
  EXPECT_EQ(defaults.beta1, 0.9);
  EXPECT_EQ(defaults.beta2, 0.999);
  EXPECT_EQ(defaults.epsilon, 1e-8);
}

TEST(Sgd, StepsEqualPyTorchs) { run_steps({}); }

TEST(CudaSgd, StepsEqualPyTorchs) {
  if (!test::cuda_available()) GTEST_SKIP() << "no GPU";
  run_steps(Device::parse("cuda"));
}

OptimizerOptions adamw_options() {
  return {.kind = OptimizerKind::kAdamW,
          .beta2 = 0.99,
          .epsilon = 1e-7,
          .weight_decay = 0.1,
          .faster = {"head"},
          .faster_by = 4};
}

// Ten steps of AdamW; from `stop` on by another optimiser that took over the first one's state.
void run_adamw(const Device& device, int stop) {
  const StateDict golden = test::load_golden("adamw_steps.safetensors");
  const std::vector<std::string> names{"body.weight", "body.norm.weight", "head.weight", "head.bias"};
  ParamStore store(0, device);
  for (const std::string& name : names) {
    Tensor tensor = store.make(name, golden.at("start/" + name).shape(), ParamStore::Kind::kParameter, init::zeros());
    tensor.copy_from(golden.at("start/" + name));
  }
  Optimizer first(store, adamw_options()), second(store, adamw_options());
  for (int step = 0; step < 10; ++step) {
    if (step == stop) second.load_state(first.state());
    Optimizer& adamw = step < stop ? first : second;
    adamw.zero_grad();
    for (const std::string& name : names) {
      // Gradients of a scaled loss are brought back.
      const auto found = golden.find("grad/" + std::to_string(step) + "/" + name);
      if (found != golden.end()) set_grad(store.entries().at(name).tensor, affine(found->second, 1024).to(device));
    }
    ASSERT_TRUE(adamw.step(0.05, 1.0 / 1024));
    for (const std::string& name : names)
      // Values reach about 4, and a step rounds a few times.
      EXPECT_LT(
          worst_difference(store.entries().at(name).tensor, golden.at("after/" + std::to_string(step) + "/" + name)),
          2e-6)
          << name << " after step " << step;
  }
}

TEST(AdamW, StepsEqualPyTorchs) {
  run_adamw({}, 10);
  run_adamw({}, 4);
}

TEST(CudaAdamW, StepsEqualPyTorchs) {
  if (!test::cuda_available()) GTEST_SKIP() << "no GPU";
  run_adamw(Device::parse("cuda"), 10);
}

TEST(Sgd, AStepWithoutFiniteGradientChangesNothing) {
  const StateDict golden = test::load_golden("train_steps.safetensors");
  ParamStore store;
  build(store, golden);
  Optimizer sgd(store, options());
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    set_grad(store.entries().at("head.bias").tensor, Tensor::full({7}, static_cast<double>(bad)));
    set_grad(store.entries().at("body.weight").tensor, Tensor::full({6, 5, 3, 3}, 1));
    EXPECT_FALSE(sgd.step(0.3));
    for (const char* name : kNames)
      EXPECT_EQ(worst_difference(store.entries().at(name).tensor, golden.at(std::string("start/") + name)), 0) << name;
    for (const auto& [name, momentum] : sgd.state())
      EXPECT_EQ(worst_difference(momentum, Tensor::zeros(momentum.shape())), 0) << name;
  }
}

TEST(Sgd, GoesOnFromItsState) {
  const StateDict golden = test::load_golden("train_steps.safetensors");
  const auto steps = [&](ParamStore& store, Optimizer& sgd, int first, int last) {
    for (int step = first; step < last; ++step) {
      for (const char* name : {"body.weight", "head.weight"})
        set_grad(store.entries().at(name).tensor, golden.at("grad/" + std::to_string(step) + "/" + name));
      ASSERT_TRUE(sgd.step(0.3));
    }
  };
  ParamStore whole, first, second;
  for (ParamStore* store : {&whole, &first, &second}) build(*store, golden);
  Optimizer of_whole(whole, options()), of_first(first, options()), of_second(second, options());
  steps(whole, of_whole, 0, 4);
  steps(first, of_first, 0, 2);
  second.load(first.state_dict());
  of_second.load_state(of_first.state());
  steps(second, of_second, 2, 4);
  for (const char* name : kNames)
    EXPECT_EQ(worst_difference(whole.entries().at(name).tensor, second.entries().at(name).tensor), 0) << name;

  StateDict wrong = of_first.state();
  wrong.erase("momentum/head.bias");
  EXPECT_THROW(of_second.load_state(wrong), Error);
  wrong["momentum/head.bias"] = Tensor::zeros({8});
  EXPECT_THROW(of_second.load_state(wrong), Error);
}

TEST(Sgd, NormsAreTold) {
  const StateDict golden = test::load_golden("train_steps.safetensors");
  ParamStore store;
  build(store, golden);
  store.make("block.norm1.weight", {3}, ParamStore::Kind::kParameter, init::ones());
  EXPECT_TRUE(is_norm_parameter(store, "body.norm.bias"));
  EXPECT_TRUE(is_norm_parameter(store, "block.norm1.weight"));
  EXPECT_FALSE(is_norm_parameter(store, "body.weight"));
  EXPECT_FALSE(is_norm_parameter(store, "head.bias"));
}

TEST(Sgd, AnUnknownFasterModuleIsAnError) {
  ParamStore store;
  store.make("head.weight", {3}, ParamStore::Kind::kParameter, init::ones());
  EXPECT_THROW(Optimizer(store, {.faster = {"haed"}}), Error);
}

}  // namespace
}  // namespace usol::train
