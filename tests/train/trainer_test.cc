// Steps of training that must not happen, and states that do not fit.
#include "train/trainer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

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

}  // namespace
}  // namespace usol::train
