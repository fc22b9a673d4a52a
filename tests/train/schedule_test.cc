// Learning rates against Detectron2's schedule.
#include "usol/train/schedule.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "tests/support/golden.h"
#include "usol/tensor/error.h"

namespace usol::train {
namespace {

TEST(Schedule, EqualsDetectron2) {
  const auto golden = test::load_golden("train_steps.safetensors");
  const auto at = golden.at("schedule/at").to_vector<std::int64_t>();
  const auto expect_equal = [&](const Schedule& schedule, const std::string& name) {
    const auto expected = golden.at("schedule/" + name).to_vector<double>();
    for (std::size_t i = 0; i < at.size(); ++i)
      EXPECT_NEAR(schedule.rate(at[i]), 0.01 * expected[i], 1e-15) << name << " at " << at[i];
  };
  Schedule schedule{.learning_rate = 0.01, .iterations = 160000, .steps = {80000}, .gamma = 0.02};
  expect_equal(schedule, "base");
  schedule.gamma = 0.1;
  schedule.steps = {80000, 120000};
  expect_equal(schedule, "steps");
  schedule.steps = {500, 80000};  // within the warm-up, which then ends at the lower rate
  expect_equal(schedule, "early");
}

TEST(Schedule, DefaultsAreThePapers) {
  const Schedule schedule;
  EXPECT_EQ(schedule.learning_rate, 0.005);
  EXPECT_EQ(schedule.iterations, 160000);
  EXPECT_EQ(schedule.steps, std::vector<std::int64_t>{80000});
  EXPECT_EQ(schedule.gamma, 0.2);
  EXPECT_EQ(schedule.steps, (std::vector<std::int64_t>{80000}));
  EXPECT_EQ(schedule.gamma, 0.2);
  EXPECT_EQ(schedule.warmup, 1000);
  EXPECT_EQ(schedule.warmup_factor, 0.001);
}

// A step takes effect in the iteration of its number.
TEST(Schedule, FallsAtItsStep) {
  const Schedule schedule{.learning_rate = 1, .steps = {10}, .gamma = 0.5, .warmup = 0};
  EXPECT_EQ(schedule.rate(9), 1);
  EXPECT_EQ(schedule.rate(10), 0.5);
}

TEST(Schedule, ScalesWithTheBatch) {
  const Schedule whole{.learning_rate = 0.02, .iterations = 90000, .steps = {60000, 80000}};
  const Schedule part = scaled(whole, 4, 16);
  EXPECT_DOUBLE_EQ(part.learning_rate, 0.005);
  EXPECT_EQ(part.iterations, 360000);
  EXPECT_EQ(part.warmup, 4000);
  EXPECT_EQ(part.steps, (std::vector<std::int64_t>{240000, 320000}));
  EXPECT_EQ(scaled_iterations(5, 32, 16), 2);  // half to even, as Python rounds
  EXPECT_EQ(scaled_iterations(7, 32, 16), 4);
  EXPECT_EQ(scaled_iterations(1, 64, 16), 1);
}

TEST(Schedule, RefusesNonsense) {
  EXPECT_NO_THROW((Schedule{.steps = {10, 20}}.check_valid()));
  EXPECT_THROW((Schedule{.steps = {20, 10}}.check_valid()), Error);
  EXPECT_THROW((Schedule{.learning_rate = 0}.check_valid()), Error);
  EXPECT_THROW((Schedule{.iterations = 0}.check_valid()), Error);
  EXPECT_THROW((Schedule{.warmup = -1}.check_valid()), Error);
}

}  // namespace
}  // namespace usol::train
