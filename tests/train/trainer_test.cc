// Steps of training that must not happen, and states that do not fit.
#include "train/trainer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tensor/allocator.h"
#include "tensor/error.h"

namespace usol::train {
namespace {

RcnnConfig small_config() {
  RcnnConfig c = cutler_config(1);
  c.resnet.blocks = {1, 1, 1, 1};
  c.resnet.res2_channels = 8;
  c.resnet.stem_channels = c.resnet.width_per_group = 2;
  c.fpn.channels = c.rpn.channels = c.heads.box.channels = 4;
  c.heads.mask->channels = c.heads.mask->hidden = 4;
  c.heads.box.hidden = 8;
  c.rpn.post_nms_train = 20;
  return c;
}

class TrainerTest : public testing::Test {
 protected:
  TrainerTest() : store_(3), model_(Scope(store_), small_config()) {
    options_.schedule = {.learning_rate = 0.02, .iterations = 100, .warmup = 0};
    Sample sample{Tensor::full({64, 64, 3}, 50, DType::kU8),
                  Tensor::zeros({1, 64, 64}, DType::kU8),
                  Tensor::from<float>({8, 8, 40, 48}, {1, 4}),
                  {0}};
    sample.image.slice(0, 8, 48).slice(1, 8, 40).fill(200);
    sample.masks.slice(1, 8, 48).slice(2, 8, 40).fill(1);
    batch_ = {sample, sample};
  }
  Tensor& parameter(const std::string& name) { return tensor_ = store_.entries().at(name).tensor; }
  std::map<std::string, std::vector<float>> values() const {
    std::map<std::string, std::vector<float>> all;
    for (const auto& [name, tensor] : store_.state_dict()) all[name] = tensor.to_vector<float>();
    return all;
  }

  ParamStore store_;
  Rcnn model_;
  TrainerOptions options_;
  std::vector<Sample> batch_;
  Tensor tensor_;
};

TEST_F(TrainerTest, ABadStepLeavesTheModelAsItWas) {
  Trainer trainer(store_, model_, options_);
  EXPECT_FALSE(trainer.step(batch_).bad);
  const auto before = values();
  for (const char* name :
       {"roi_heads.box_predictor.cls_score.bias", "proposal_generator.rpn_head.anchor_deltas.bias"}) {
    const Tensor kept = parameter(name).clone();
    parameter(name).fill(std::numeric_limits<double>::infinity());
    const StepReport report = trainer.step(batch_);
    EXPECT_TRUE(report.bad) << name;
    parameter(name).copy_from(kept);
    EXPECT_EQ(values(), before) << name;  // weights and the norms' statistics
  }
  EXPECT_EQ(trainer.bad_steps(), 2);
  EXPECT_EQ(trainer.iteration(), 3);
  EXPECT_FALSE(trainer.step(batch_).bad);
  EXPECT_NE(values(), before);
}

TEST_F(TrainerTest, TheReleaseRepeatsTheLastGradients) {
  options_.repeat_on_bad_loss = true;
  Trainer trainer(store_, model_, options_);
  EXPECT_FALSE(trainer.step(batch_).bad);
  const std::string other = "roi_heads.mask_head.predictor.weight";
  const auto before = parameter(other).to_vector<float>();
  parameter("roi_heads.box_predictor.cls_score.bias").fill(std::numeric_limits<double>::infinity());
  EXPECT_TRUE(trainer.step(batch_).bad);
  EXPECT_NE(parameter(other).to_vector<float>(), before);
}

TEST_F(TrainerTest, GivesUpAfterTooManyBadSteps) {
  options_.most_bad_steps = 3;
  Trainer trainer(store_, model_, options_);
  parameter("roi_heads.box_predictor.cls_score.bias").fill(std::numeric_limits<double>::infinity());
  EXPECT_TRUE(trainer.step(batch_).bad);
  EXPECT_TRUE(trainer.step(batch_).bad);
  EXPECT_THROW(trainer.step(batch_), Error);
}

TEST_F(TrainerTest, RefusesAnotherModelsState) {
  Trainer trainer(store_, model_, options_);
  StateDict state = trainer.state();
  state.erase("model/backbone.fpn_output2.weight");
  EXPECT_THROW(trainer.load_state(state), Error);
  state = trainer.state();
  state.erase("trainer/counts");
  EXPECT_THROW(trainer.load_state(state), Error);
}

TEST_F(TrainerTest, StartsFromABackboneAlone) {
  StateDict backbone{{"stem.conv1.weight", Tensor::full({2, 3, 7, 7}, 0.25)}, {"unknown", Tensor::zeros({1})}};
  const StartReport report = start_from(store_, backbone, "weights");
  EXPECT_EQ(report.loaded, (std::vector<std::string>{"backbone.bottom_up.stem.conv1.weight"}));
  EXPECT_EQ(report.unused, (std::vector<std::string>{"unknown"}));
  EXPECT_EQ(parameter("backbone.bottom_up.stem.conv1.weight").to_vector<float>()[5], 0.25F);
  EXPECT_THROW(start_from(store_, {{"unknown", Tensor::zeros({1})}}, "weights"), Error);
}

TEST_F(TrainerTest, ManyStepsTakeNoMoreMemoryThanTheFirst) {
  Trainer trainer(store_, model_, options_);
  const auto live = [] { return allocator(DeviceType::kCpu).stats().live_bytes; };
  for (int i = 0; i < 3; ++i) trainer.step(batch_);  // momentum, caches
  const std::size_t before = live();
  for (int i = 0; i < 20; ++i) {
    EXPECT_FALSE(trainer.step(batch_).bad);
    ASSERT_EQ(live(), before) << "step " << i;
  }
}

TEST_F(TrainerTest, TheSameStepsGiveTheSameBits) {
  const auto state_after = [&] {
    ParamStore store(3);
    const Rcnn model(Scope(store), small_config());
    Trainer trainer(store, model, options_);
    for (int i = 0; i < 3; ++i) trainer.step(batch_);
    std::map<std::string, std::vector<double>> values;
    for (const auto& [name, tensor] : trainer.state()) values[name] = tensor.to(DType::kF64).to_vector<double>();
    return values;
  };
  EXPECT_EQ(state_after(), state_after());
}

TEST_F(TrainerTest, OddPicturesAndObjects) {
  const auto sample = [](std::int64_t height, std::int64_t width, const std::vector<float>& boxes) {
    const auto count = static_cast<std::int64_t>(boxes.size()) / 4;
    Sample s{Tensor::full({height, width, 3}, 90, DType::kU8), Tensor::zeros({count, height, width}, DType::kU8),
             Tensor::from<float>(boxes, {count, 4}), std::vector<std::int64_t>(static_cast<std::size_t>(count))};
    for (std::int64_t i = 0; i < count; ++i) {
      const auto side = [&](std::int64_t k) {
        return static_cast<std::int64_t>(boxes[static_cast<std::size_t>(4 * i + k)]);
      };
      s.masks.select(0, i).slice(0, side(1), side(3)).slice(1, side(0), side(2)).fill(1);
    }
    return s;
  };
  Trainer trainer(store_, model_, options_);
  const std::vector<std::vector<Sample>> batches{
      {sample(1, 70, {3, 0, 50, 1}), sample(70, 1, {0, 3, 1, 50})},       // a pixel high, a pixel wide
      {sample(1, 1, {0, 0, 1, 1}), sample(1, 1, {})},                     // all of it
      {sample(64, 64, {10, 10, 11, 11, 63, 63, 64, 64}), batch_[0]},      // objects of a pixel
      {sample(64, 64, {}), sample(40, 64, {})},                           // no objects
      {sample(64, 64, {5, 5, 60, 60}), sample(200, 33, {0, 0, 33, 200})}  // two sizes
  };
  for (std::size_t i = 0; i < batches.size(); ++i) {
    const StepReport report = trainer.step(batches[i]);
    EXPECT_FALSE(report.bad) << i;
    EXPECT_EQ(report.losses.size(), 5u) << i;
    EXPECT_TRUE(std::isfinite(report.gradient_norm)) << i;
  }
}

}  // namespace
}  // namespace usol::train
