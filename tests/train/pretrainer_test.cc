// Steps of DINO and iBOT against the public codes, on every device; ranks, states, bad steps, collapse.
#include "usol/train/pretrainer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "tests/support/devices.h"
#include "tests/support/golden.h"
#include "tests/support/pattern.h"
#include "tests/support/thread_ranks.h"
#include "usol/autograd/tape.h"
#include "usol/ops/elementwise.h"
#include "usol/tensor/error.h"

namespace usol::train {
namespace {

// The cases of tests/golden/make_dino.py.
constexpr std::int64_t kPictures = 3, kLocals = 2, kGlobalPx = 32, kLocalPx = 16, kGrid = 4, kSteps = 10;

PretrainerOptions options_of(const std::string& golden_case) {
  PretrainerOptions o;
  o.vit = {.width = 16, .depth = 2, .head_width = 8, .patch = 8, .grid = kGrid, .mlp_hidden = 64};
  o.vit.mask_token = golden_case == "ibot";
  o.head = {.hidden = 24, .bottleneck = 12, .out = 48, .fixed_gain = golden_case != "free"};
  o.rate = {.first = 0.02, .last = 1e-4, .iterations = 12, .warmup = 3};
  o.weight_decay = {.first = 0.04, .last = 0.4, .iterations = 12};
  o.momentum = {.first = 0.9, .last = 1, .iterations = 12};
  o.teacher_temperature = {.first = 0.04, .last = 0.07, .warmup_epochs = 3};
  o.steps_per_epoch = 3;
  o.clip_norm = 0.3;
  o.patch_weight = golden_case == "ibot" ? 1 : 0;
  return o;
}

// iBOT's code calls it masked_embed.
std::string public_name(const std::string& name) {
  return name == "backbone.mask_token" ? "backbone.masked_embed" : name;
}

StateDict golden_weights(const PretrainerOptions& options) {
  ParamStore store;
  const Vit vit(Scope(store) / "backbone", options.vit);
  const DinoHead head(Scope(store) / "head", options.vit.width, options.head);
  std::map<std::string, std::string> sorted;  // ours by the public name
  for (const std::string& name : store.names()) sorted[public_name(name)] = name;
  // A fixed gain is a parameter there, too.
  StateDict weights;
  std::uint64_t salt = 0;
  const auto has = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  for (const auto& [name, ours] : sorted) {
    ++salt;
    Tensor tensor = store.entries().at(ours).tensor.detach();
    if (!name.ends_with("weight_g")) {
      const double scale = name.ends_with("weight_v") || has(name, "mlp") || has(name, "qkv") ? 0.6F : 0.25F;
      const double offset = has(name, "norm") && name.ends_with("weight") ? 1 : 0;
      tensor = affine(test::pattern(tensor.shape(), salt), scale, offset);
    }
    weights[ours] = tensor;
  }
  return weights;
}

Tensor crops(std::int64_t step, std::int64_t first, std::int64_t count, std::int64_t px) {
  Tensor all = Tensor::empty({kPictures, count, 3, px, px});
  for (std::int64_t i = 0; i < count; ++i)
    all.select(1, i).copy_from(
        affine(test::pattern({kPictures, 3, px, px}, static_cast<std::uint64_t>(1000 + 10 * step + first + i)), 2));
  return all;
}

CropBatch batch_of(std::int64_t step, bool hidden) {
  CropBatch batch{crops(step, 0, 2, kGlobalPx), crops(step, 2, kLocals, kLocalPx), {}};
  if (!hidden) return batch;
  batch.hidden = Tensor::zeros({kPictures, 2, kGrid * kGrid}, DType::kU8);
  for (std::int64_t crop = 0; crop < 2; ++crop) {
    const Tensor mask = test::pattern({kPictures, kGrid * kGrid}, static_cast<std::uint64_t>(2000 + 10 * step + crop));
    for (std::int64_t n = 0; n < kPictures; ++n)
      for (std::int64_t i = 0; i < kGrid * kGrid; ++i)
        if (!(crop == 0 && n == 1) && mask.data<float>()[n * kGrid * kGrid + i] > 0.3F)
          batch.hidden.mutable_data<std::uint8_t>()[(n * 2 + crop) * kGrid * kGrid + i] = 1;
  }
  return batch;
}

double worst_difference(const Tensor& a, const Tensor& b) {
  const auto x = a.to(Device{}).to_vector<float>(), y = b.to(Device{}).to_vector<float>();
  double worst = x.size() == y.size() ? 0 : std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < std::min(x.size(), y.size()); ++i)
    worst = std::max(worst, static_cast<double>(std::abs(x[i] - y[i])));
  return worst;
}

double largest(const Tensor& a) {
  double most = 0;
  for (const float value : a.to(Device{}).to_vector<float>())
    most = std::max(most, static_cast<double>(std::abs(value)));
  return most;
}

void load(Pretrainer& pretrainer, const StateDict& weights) {
  StateDict state = pretrainer.state();
  for (const auto& [name, tensor] : weights) state["student/" + name] = state["teacher/" + name] = tensor;
  pretrainer.load_state(state);
}

void run_case(const std::string& name, const Device& device) {
  const StateDict golden = test::load_golden("dino.safetensors");
  const PretrainerOptions options = options_of(name);
  Pretrainer pretrainer(options, device);
  load(pretrainer, golden_weights(options));
  const auto losses = golden.at(name + "/losses").to_vector<double>();
  const std::size_t terms = losses.size() / kSteps;
  for (std::int64_t step = 0; step < kSteps; ++step) {
    const StepReport report = pretrainer.step(batch_of(step, name == "ibot"));
    ASSERT_FALSE(report.bad);
    const double allowed = step == 0 ? 1e-5 : 1e-3;
    const auto at = static_cast<std::size_t>(step) * terms;
    EXPECT_NEAR(report.losses.at("loss_dino"), losses[at], allowed) << name << " step " << step;
    if (terms == 2) EXPECT_NEAR(report.losses.at("loss_patch"), losses[at + 1], allowed) << name << " step " << step;
    if (step > 0) continue;
    int compared = 0;
    for (const auto& [parameter, entry] : pretrainer.student_parameters().entries()) {
      const auto found = golden.find(name + "/grad/" + public_name(parameter));
      if (found == golden.end() || parameter.starts_with("head.last_layer.")) continue;  // that one is frozen
      EXPECT_LT(worst_difference(grad(entry.tensor), found->second), 1e-5 * std::max(1.0, largest(found->second)))
          << name << " " << parameter;
      ++compared;
    }
    EXPECT_EQ(compared, name == "dino" ? 36 : name == "free" ? 2 : 3);
  }
  const StateDict state = pretrainer.state();
  for (const char* parameter : {"backbone.pos_embed", "backbone.blocks.1.attn.proj.bias", "head.last_layer.weight_v",
                                "head.last_layer.weight_g"})
    EXPECT_LT(
        worst_difference(state.at(std::string("teacher/") + parameter), golden.at(name + "/teacher/" + parameter)),
        1e-3)
        << name << " " << parameter;
  EXPECT_LT(worst_difference(state.at("centre"), golden.at(name + "/centre").reshape({48})), 1e-4);
  if (name == "ibot") EXPECT_LT(worst_difference(state.at("patch_centre"), golden.at("ibot/patch_centre")), 1e-4);
}

TEST(Pretrainer, TenStepsAreThePublicCodes) { run_case("dino", {}); }
TEST(Pretrainer, TenStepsWithLearnedGainsAreThePublicCodes) { run_case("free", {}); }
TEST(Pretrainer, TenStepsWithHiddenPatchesAreThePublicCodes) { run_case("ibot", {}); }

TEST(CudaPretrainer, TenStepsAreThePublicCodes) {
  if (!test::cuda_available()) GTEST_SKIP() << "no GPU";
  for (const char* name : {"dino", "free", "ibot"}) run_case(name, Device::parse("cuda"));
}

// The gradient of the layer that the first epoch freezes.
TEST(Pretrainer, TheLastLayersGradientIsThePublicCodes) {
  const StateDict golden = test::load_golden("dino.safetensors");
  for (const std::string name : {"dino", "free", "ibot"}) {
    PretrainerOptions options = options_of(name);
    options.frozen_epochs = 0;
    Pretrainer pretrainer(options, {});
    load(pretrainer, golden_weights(options));
    pretrainer.step(batch_of(0, name == "ibot"));
    int compared = 0;
    for (const char* last : {"weight_v", "weight_g"}) {
      const auto found = golden.find(name + "/grad/head.last_layer." + last);
      if (found == golden.end()) continue;
      const Tensor tensor = pretrainer.student_parameters().entries().at(std::string("head.last_layer.") + last).tensor;
      EXPECT_LT(worst_difference(grad(tensor), found->second), 1e-5) << name << " " << last;
      ++compared;
    }
    EXPECT_EQ(compared, name == "ibot" ? 0 : 1);
  }
}

TEST(Pretrainer, AStateGoesOnToTheBit) {
  PretrainerOptions options = options_of("ibot");
  options.vit.drop_path = 0.3;
  Pretrainer undisturbed(options, {}), first(options, {}), second(options, {});
  for (std::int64_t step = 0; step < 5; ++step) {
    undisturbed.step(batch_of(step, true));
    if (step < 2) first.step(batch_of(step, true));
    if (step == 2) second.load_state(first.state());
    if (step >= 2) second.step(batch_of(step, true));
  }
  const StateDict a = undisturbed.state(), b = second.state();
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a)
    if (tensor.dtype() == DType::kF32) EXPECT_EQ(worst_difference(tensor, b.at(name)), 0) << name;
}

// With drop path and hidden patches, of which the second rank's first picture has none.
TEST(Pretrainer, RanksMakeTheStepsOfOneProcess) {
  PretrainerOptions options = options_of("ibot");
  options.vit.drop_path = 0.3;
  options.frozen_epochs = 0;
  const auto share = [](const CropBatch& batch, std::int64_t first) {
    const auto part = [&](const Tensor& t) { return t.slice(0, first, first + 1).contiguous(); };
    return CropBatch{part(batch.globals), part(batch.locals), part(batch.hidden)};
  };
  Pretrainer alone(options, {});
  std::vector<double> losses;
  for (std::int64_t step = 0; step < 4; ++step) losses.push_back(alone.step(batch_of(step, true)).total);
  test::ThreadRanks::run(kPictures, [&](test::ThreadRanks::Rank& rank) {
    PretrainerOptions shared = options;
    shared.ranks = &rank;
    Pretrainer pretrainer(shared, {});
    for (std::int64_t step = 0; step < 4; ++step) {
      const StepReport report = pretrainer.step(share(batch_of(step, true), rank.rank()));
      EXPECT_NEAR(report.total, losses[static_cast<std::size_t>(step)], 1e-5) << "step " << step;
    }
    const StateDict state = pretrainer.state();
    EXPECT_LT(worst_difference(state.at("centre"), alone.state().at("centre")), 1e-5);
    EXPECT_LT(worst_difference(state.at("patch_centre"), alone.state().at("patch_centre")), 1e-5);
    EXPECT_NEAR(pretrainer.figures().information, alone.figures().information, 1e-5);
  });
}

TEST(Pretrainer, DropPathIsTheStudentsAlone) {
  PretrainerOptions options = options_of("dino");
  Pretrainer without(options, {});
  options.vit.drop_path = 0.5;
  Pretrainer with(options, {});
  const StepReport a = without.step(batch_of(0, false)), b = with.step(batch_of(0, false));
  EXPECT_EQ(a.figures.at("teacher_entropy"), b.figures.at("teacher_entropy"));
  EXPECT_NE(a.total, b.total);
}

// Products keep 11 bits in f16 and 8 in bf16. The first step's losses and gradients differ by a few of their last
// places, and five steps stay within ten times as much. f16 begins with a factor that the gradients of all of them fit
// into: a step that is left out would lead elsewhere.
void expect_close_to_f32(DType precision, double allowed) {
  PretrainerOptions options = options_of("ibot");
  options.frozen_epochs = 0;
  const StateDict weights = golden_weights(options);
  Pretrainer wide(options, {});
  options.precision = precision;
  Pretrainer narrow(options, {});
  load(wide, weights);
  load(narrow, weights);
  StateDict state = narrow.state();
  if (precision == DType::kF16) state["pretrainer/loss_scale"] = Tensor::from<double>({1024, 0}, {2});
  narrow.load_state(state);
  for (std::int64_t step = 0; step < 5; ++step) {
    const StepReport expected = wide.step(batch_of(step, true)), report = narrow.step(batch_of(step, true));
    ASSERT_FALSE(report.bad) << "step " << step;
    for (const auto& [name, loss] : expected.losses)
      EXPECT_NEAR(report.losses.at(name), loss, (step == 0 ? 1 : 10) * allowed * loss) << name << " step " << step;
    if (step > 0) continue;
    EXPECT_NEAR(report.gradient_norm, expected.gradient_norm, 10 * allowed * expected.gradient_norm);
    for (const auto& [name, entry] : wide.student_parameters().entries()) {
      if (!requires_grad(entry.tensor)) continue;
      const Tensor other = affine(grad(narrow.student_parameters().entries().at(name).tensor), 1 / report.loss_scale);
      EXPECT_LT(worst_difference(grad(entry.tensor), other), 20 * allowed * largest(grad(entry.tensor))) << name;
    }
  }
  for (const auto& [name, tensor] : narrow.state())
    if (tensor.dtype() == DType::kF32) EXPECT_TRUE(std::isfinite(largest(tensor))) << name;
}

TEST(Pretrainer, StepsInF16AreClose) { expect_close_to_f32(DType::kF16, 1e-3); }
TEST(Pretrainer, StepsInBf16AreClose) { expect_close_to_f32(DType::kBF16, 8e-3); }

// As PyTorch's GradScaler: f16 begins with a large factor, and gradients that overflow halve it and move nothing.
TEST(Pretrainer, F16ScalesItsLosses) {
  PretrainerOptions options = options_of("ibot");
  EXPECT_EQ(Pretrainer(options, {}).loss_scale().factor, 1);
  options.precision = DType::kF16;
  Pretrainer pretrainer(options, {});
  EXPECT_EQ(pretrainer.loss_scale().factor, LossScale::kFirst);
  StateDict state = pretrainer.state();
  state["pretrainer/loss_scale"] = Tensor::from<double>({std::ldexp(1.0, 60), 5}, {2});
  pretrainer.load_state(state);
  std::map<std::string, std::vector<float>> before;
  for (const auto& [name, tensor] : pretrainer.state())
    if (tensor.dtype() == DType::kF32) before[name] = tensor.to_vector<float>();
  EXPECT_TRUE(pretrainer.step(batch_of(0, true)).bad);
  EXPECT_EQ(pretrainer.loss_scale().factor, std::ldexp(1.0, 59));
  EXPECT_EQ(pretrainer.loss_scale().good_steps, 0);
  for (const auto& [name, values] : before) EXPECT_EQ(pretrainer.state().at(name).to_vector<float>(), values) << name;
}

// Losses are sums over pictures that know of each other by the centres alone, which move once in a step.
TEST(Pretrainer, PassesMakeTheStepOfOne) {
  PretrainerOptions options = options_of("ibot");
  options.vit.drop_path = 0.3;
  options.frozen_epochs = 0;
  Pretrainer whole(options, {});
  options.accumulate = 3;
  Pretrainer parts(options, {});
  for (std::int64_t step = 0; step < 4; ++step) {
    const StepReport a = whole.step(batch_of(step, true)), b = parts.step(batch_of(step, true));
    EXPECT_NEAR(a.total, b.total, 1e-5) << "step " << step;
    for (const auto& [name, loss] : a.losses) EXPECT_NEAR(loss, b.losses.at(name), 1e-5) << name << " step " << step;
    EXPECT_NEAR(a.gradient_norm, b.gradient_norm, 1e-5 * a.gradient_norm) << "step " << step;
    for (const auto& [name, figure] : a.figures) EXPECT_NEAR(figure, b.figures.at(name), 1e-5) << name;
  }
  const StateDict a = whole.state(), b = parts.state();
  for (const char* name : {"centre", "patch_centre", "teacher/backbone.norm.weight", "teacher/head.mlp.0.bias"})
    EXPECT_LT(worst_difference(a.at(name), b.at(name)), 1e-5) << name;
  options.accumulate = 2;  // for three pictures
  Pretrainer uneven(options, {});
  EXPECT_THROW(uneven.step(batch_of(0, true)), Error);
}

TEST(Pretrainer, ABadStepChangesNothing) {
  PretrainerOptions options = options_of("dino");
  options.most_bad_steps = 2;
  Pretrainer pretrainer(options, {});
  pretrainer.step(batch_of(0, false));
  std::map<std::string, std::vector<float>> before;
  for (const auto& [name, tensor] : pretrainer.state())
    if (tensor.dtype() == DType::kF32) before[name] = tensor.to_vector<float>();
  CropBatch batch = batch_of(1, false);
  batch.globals.fill(std::numeric_limits<double>::quiet_NaN());
  EXPECT_TRUE(pretrainer.step(batch).bad);
  for (const auto& [name, values] : before) EXPECT_EQ(pretrainer.state().at(name).to_vector<float>(), values) << name;
  EXPECT_THROW(pretrainer.step(batch), Error);
}

TEST(Pretrainer, TheBackboneHasPublishedNames) {
  Pretrainer pretrainer(options_of("ibot"), {});
  const StateDict backbone = pretrainer.backbone();
  EXPECT_TRUE(backbone.contains("pos_embed"));
  EXPECT_TRUE(backbone.contains("blocks.1.mlp.fc2.bias"));
  EXPECT_FALSE(backbone.contains("mask_token"));
  EXPECT_EQ(backbone.size(), 30U);
}

TEST(Pretrainer, StartsFromABackbone) {
  const PretrainerOptions options = options_of("ibot");
  Pretrainer first(options, {}), second(options, {});
  first.step(batch_of(0, true));
  first.step(batch_of(1, true));
  second.start_from(first.backbone(), "first");
  const StateDict state = second.state();
  for (const auto& [name, tensor] : first.backbone()) {
    EXPECT_EQ(worst_difference(state.at("student/backbone." + name), tensor), 0) << name;
    EXPECT_EQ(worst_difference(state.at("teacher/backbone." + name), tensor), 0) << name;
  }
  StateDict other = first.backbone();
  other.erase("pos_embed");
  EXPECT_THROW(second.start_from(other, "other"), Error);
}

// A uniform distribution, one prototype for all, and features that are all one.
TEST(TeacherFigures, KnowCollapses) {
  const auto figures = [](const Tensor& scores, const Tensor& features) {
    const Tensor log_p = teacher_log_probabilities(scores, Tensor::zeros({4}), 0.1);
    return TeacherSums::of(log_p, features).figures(scores.size(0));
  };
  const Tensor apart = Tensor::from<float>({1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}, {4, 4});
  const TeacherFigures healthy = figures(apart, apart);
  EXPECT_NEAR(healthy.information, std::log(4.0), 0.01);
  EXPECT_NEAR(healthy.entropy, 0, 0.01);
  EXPECT_NEAR(healthy.spread, std::sqrt(0.75), 1e-6);
  EXPECT_FALSE(is_collapsed(healthy));
  const TeacherFigures uniform = figures(Tensor::zeros({4, 4}), apart);
  EXPECT_NEAR(uniform.entropy, std::log(4.0), 1e-6);
  EXPECT_TRUE(is_collapsed(uniform));
  const Tensor one = apart.slice(0, 0, 1).expand({4, 4}).contiguous();
  EXPECT_TRUE(is_collapsed(figures(one, apart)));
  EXPECT_NEAR(figures(apart, one).spread, 0, 1e-3);
  EXPECT_TRUE(is_collapsed(figures(apart, one)));
}

TEST(CosineSchedule, IsThePublicCodes) {
  const auto golden = test::load_golden("dino.safetensors");
  const PretrainerOptions o = options_of("dino");
  const auto expect_equal = [&](const CosineSchedule& schedule, const char* name) {
    const auto expected = golden.at(name).to_vector<double>();
    ASSERT_EQ(static_cast<std::int64_t>(expected.size()), schedule.iterations);
    for (std::size_t i = 0; i < expected.size(); ++i)
      EXPECT_NEAR(schedule.value(static_cast<std::int64_t>(i)), expected[i], 1e-12) << name << " at " << i;
  };
  expect_equal(o.rate, "schedule/rate");
  expect_equal(o.weight_decay, "schedule/decay");
  expect_equal(o.momentum, "schedule/momentum");
  EXPECT_DOUBLE_EQ(o.teacher_temperature.value(1), 0.055);
}

}  // namespace
}  // namespace usol::train
