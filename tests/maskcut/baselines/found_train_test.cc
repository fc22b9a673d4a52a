// The training of FOUND's layer against the published masks with PyTorch's loss and optimizer (golden, made by
// tests/golden/make_found_train.py).
#include "usol/maskcut/baselines/found_train.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "usol/tensor/error.h"

namespace usol::maskcut {
namespace {

class FoundTrain : public testing::Test {
 protected:
  std::vector<FoundSample> batch() const {
    std::vector<FoundSample> samples;
    for (std::int64_t i = 0; i < golden_.at("keys").size(0); ++i) {
      samples.push_back({golden_.at("keys").select(0, i), golden_.at("attention").select(0, i),
                         golden_.at("images").select(0, i).contiguous()});
    }
    return samples;
  }
  FoundTrainer trainer() const {
    FoundTrainOptions options;
    options.background_steps = static_cast<std::int64_t>(golden_.at("background_steps").item());
    options.decay_every = static_cast<std::int64_t>(golden_.at("decay_every").item());
    return {{golden_.at("weight"), static_cast<float>(golden_.at("bias").item())}, options};
  }
  std::map<std::string, Tensor> golden_ = test::load_golden("found_train.safetensors");
};

// Source: FOUND's public configuration.
TEST_F(FoundTrain, DefaultsAreThePublicCodes) {
  const FoundTrainOptions options;
  EXPECT_EQ(options.learning_rate, 0.05);
  EXPECT_EQ(options.decay, 0.95);
  EXPECT_EQ(options.decay_every, 50);
  EXPECT_EQ(options.weight_decay, 0.01);
  EXPECT_EQ(options.refined_weight, 1.5);
  EXPECT_EQ(options.own_weight, 4);
  EXPECT_EQ(options.background_steps, 100);
  EXPECT_EQ(options.background.background_cosine, 0.3);
}

TEST_F(FoundTrain, StepsOfPyTorch) {
  FoundTrainer trainer = this->trainer();
  const Tensor losses = golden_.at("losses"), weights = golden_.at("weights"), biases = golden_.at("biases");
  for (std::int64_t step = 0; step < losses.size(0); ++step) {
    const FoundLosses loss = trainer.step(batch());
    const auto expected = losses.select(0, step).contiguous().to_vector<double>();
    EXPECT_NEAR(loss.total, expected[0], 2e-6) << step;
    EXPECT_NEAR(loss.refined, expected[1], 2e-6) << step;
    EXPECT_NEAR(loss.other, expected[2], 2e-6) << step;
    const FoundHead head = trainer.head();
    const auto weight = head.weight.to_vector<float>();
    const auto wanted = weights.select(0, step).contiguous().to_vector<float>();
    for (std::size_t i = 0; i < weight.size(); ++i) EXPECT_NEAR(weight[i], wanted[i], 2e-6) << step << ' ' << i;
    EXPECT_NEAR(head.bias, biases.select(0, step).item(), 2e-6) << step;
  }
  EXPECT_EQ(trainer.steps(), losses.size(0));
}

TEST_F(FoundTrain, MasksFittedToTheEdges) {
  const auto samples = batch();
  const FoundHead head = trainer().head();
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const Tensor logits = found_logits(samples[i].keys, head);
    Tensor mask = Tensor::empty(logits.shape(), DType::kU8);
    for (std::int64_t p = 0; p < mask.numel(); ++p) mask.mutable_data<std::uint8_t>()[p] = logits.data<float>()[p] > 0;
    EXPECT_EQ(found_fit(mask, samples[i].image, BilateralSolver(samples[i].image)).to_vector<std::uint8_t>(),
              golden_.at("fitted")
                  .select(0, 0)
                  .select(0, static_cast<std::int64_t>(i))
                  .contiguous()
                  .to_vector<std::uint8_t>());
  }
}

TEST_F(FoundTrain, AStoppedRunGoesOnToTheSameLayer) {
  FoundTrainer whole = trainer(), first = trainer(), second = trainer();
  for (int i = 0; i < 3; ++i) whole.step(batch());
  first.step(batch());
  second.load_state(first.state());
  EXPECT_EQ(second.steps(), 1);
  for (int i = 0; i < 2; ++i) second.step(batch());
  EXPECT_EQ(second.head().weight.to_vector<float>(), whole.head().weight.to_vector<float>());
  EXPECT_EQ(second.head().bias, whole.head().bias);
  auto state = first.state();
  state.erase("bias.mean");
  EXPECT_THROW(second.load_state(state), Error);
}

TEST_F(FoundTrain, StartsAsPyTorchsConvolution) {
  const FoundHead head = FoundTrainer(384, 1).head(), other = FoundTrainer(384, 2).head();
  const auto values = head.weight.to_vector<float>();
  const float bound = 1 / std::sqrt(384.0f);
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  EXPECT_GE(*least, -bound);
  EXPECT_LE(*most, bound);
  EXPECT_GT(*most - *least, 1.9f * bound);
  EXPECT_LE(std::abs(head.bias), bound);
  EXPECT_NE(values, other.weight.to_vector<float>());
}

TEST_F(FoundTrain, BlurOfOpenCv) {
  // OpenCV computes in fixed point: one level apart at most.
  const Tensor blurred =
      gaussian_blur(golden_.at("images").select(0, 0).contiguous(),
                    static_cast<std::int64_t>(golden_.at("blur.taps").item()), golden_.at("blur.sigma").item());
  const auto ours = blurred.to_vector<std::uint8_t>(), theirs = golden_.at("blur.image").to_vector<std::uint8_t>();
  for (std::size_t i = 0; i < ours.size(); ++i) ASSERT_NEAR(ours[i], theirs[i], 1) << i;
}

TEST_F(FoundTrain, AugmentationsAreSquareAndSeeded) {
  const Tensor image = golden_.at("images").select(0, 1).slice(0, 0, 40).contiguous();
  std::set<std::string> seen;
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    Generator generator(seed), again(seed);
    const Tensor out = found_augment(image, 56, generator);
    EXPECT_EQ(out.shape(), (Shape{56, 56, 3}));
    EXPECT_EQ(out.to_vector<std::uint8_t>(), found_augment(image, 56, again).to_vector<std::uint8_t>());
    const auto pixels = out.to_vector<std::uint8_t>();
    seen.emplace(pixels.begin(), pixels.end());
  }
  EXPECT_EQ(seen.size(), 6u);
}

TEST_F(FoundTrain, RefusesBadInput) {
  FoundTrainer trainer = this->trainer();
  EXPECT_THROW(trainer.step({}), Error);
  auto samples = batch();
  samples[1].keys = samples[1].keys.slice(1, 0, 3).contiguous();
  EXPECT_THROW(trainer.step(samples), Error);
  samples = batch();
  samples[0].attention = {};
  EXPECT_THROW(trainer.step(samples), Error);
  EXPECT_THROW(FoundTrainer(0, 1), Error);
  Generator generator;
  EXPECT_THROW(found_augment(Tensor::zeros({4, 4, 3}), 8, generator), Error);
  EXPECT_THROW(gaussian_blur(golden_.at("images").select(0, 0), 4, 1), Error);
}

}  // namespace
}  // namespace usol::maskcut
