// Saliency metrics against the metric code of TokenCut and FOUND (tests/golden/make_saliency.py).
#include "usol/eval/saliency.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "tests/support/golden.h"
#include "usol/tensor/error.h"

namespace usol::eval {
namespace {

using nlohmann::json;

Tensor image_of(const json& rows) {
  std::vector<std::uint8_t> values;
  for (const json& row : rows) values.insert(values.end(), row.begin(), row.end());
  return Tensor::from(values, {static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(rows[0].size())});
}

// The same map in f32, as an 8-bit picture is scaled.
Tensor scaled(const Tensor& map) {
  std::vector<float> values;
  for (const std::uint8_t v : map.to_vector<std::uint8_t>()) values.push_back(static_cast<float>((v - 0.25) / 255));
  return Tensor::from(values, map.shape());
}

TEST(Saliency, EqualsTheReferences) {
  std::ifstream in(test::golden_path("saliency.json"));
  const json golden = json::parse(in);
  SaliencyMean of_u8, of_f32;
  for (std::size_t i = 0; i < golden["maps"].size(); ++i) {
    const Tensor map = image_of(golden["maps"][i]), truth = image_of(golden["truths"][i]);
    of_u8.add(saliency_scores(map, truth));
    of_f32.add(saliency_scores(scaled(map), truth));
  }
  ASSERT_EQ(of_u8.images(), 8);
  for (const auto& [name, value] : of_u8.metrics()) EXPECT_NEAR(value, golden[name].get<double>(), 2e-7) << name;
  EXPECT_EQ(of_f32.metrics(), of_u8.metrics());
}

TEST(Saliency, ThresholdsAreStrict) {
  const Tensor truth = Tensor::from<std::uint8_t>({1, 0}, {1, 2});
  // 102 / 255 = 0.4 lies above thresholds 0 .. 101.
  const SaliencyScores u8 = saliency_scores(Tensor::from<std::uint8_t>({102, 0}, {1, 2}), truth);
  EXPECT_EQ(u8.f_beta[101], 1);
  EXPECT_EQ(u8.f_beta[102], 0);
  const SaliencyScores f32 = saliency_scores(Tensor::from<float>({0.4f, 0}, {1, 2}), truth);
  EXPECT_EQ(f32.f_beta[101], 1);
  EXPECT_EQ(f32.f_beta[102], 0.4f > 102 / 255.0 ? 1 : 0);
  // A map in levels is foreground from 128 on.
  EXPECT_EQ(saliency_scores(Tensor::from<std::uint8_t>({127, 0}, {1, 2}), truth).iou, 0);
  EXPECT_EQ(saliency_scores(Tensor::from<std::uint8_t>({128, 0}, {1, 2}), truth).iou, 1);
  const SaliencyScores half = saliency_scores(Tensor::from<float>({0.5f, 0}, {1, 2}), truth);
  EXPECT_EQ(half.iou, 0);
  EXPECT_EQ(half.accuracy, 0.5);
}

TEST(Saliency, TwoEmptyMasksAgree) {
  const Tensor empty = Tensor::zeros({4, 5}, DType::kU8);
  const SaliencyScores scores = saliency_scores(empty, empty);
  EXPECT_EQ(scores.iou, 1);
  EXPECT_EQ(scores.accuracy, 1);
  EXPECT_EQ(scores.f_beta[0], 1);
}

TEST(Saliency, RefusesWhatDoesNotFit) {
  const Tensor truth = Tensor::zeros({2, 2}, DType::kU8);
  EXPECT_THROW(saliency_scores(Tensor::zeros({2, 3}, DType::kU8), truth), Error);
  EXPECT_THROW(saliency_scores(Tensor::zeros({2, 2}, DType::kF64), truth), Error);
  EXPECT_THROW(saliency_scores(Tensor::full({2, 2}, std::numeric_limits<double>::quiet_NaN()), truth), Error);
  EXPECT_EQ(SaliencyMean().metrics()[0].second, -1);
}

}  // namespace
}  // namespace usol::eval
