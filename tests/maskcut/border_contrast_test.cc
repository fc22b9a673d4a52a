// The maps against numpy's and scipy's (tests/golden/make_border_contrast.py), and pictures whose answer is plain.
#include "usol/maskcut/border_contrast.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/support/golden.h"
#include "usol/tensor/error.h"
#include "usol/tensor/parallel.h"

namespace usol::maskcut {
namespace {

void expect_near(const Tensor& got, const Tensor& expected, double tolerance) {
  ASSERT_EQ(got.shape(), expected.shape());
  ASSERT_EQ(got.dtype(), DType::kF64);
  const std::vector<double> a = got.to_vector<double>(), b = expected.to(DType::kF64).to_vector<double>();
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] - b[i]));
  EXPECT_LE(most, tolerance);
}

TEST(BorderContrast, EqualsNumpy) {
  const auto golden = test::load_golden("border_contrast.safetensors");
  expect_near(barrier_distance(golden.at("planes")), golden.at("barrier"), 1e-12);
  expect_near(border_distance(golden.at("planes")), golden.at("border"), 1e-9);
  expect_near(background_contrast(golden.at("planes")), golden.at("background"), 1e-9);
  // Colours are f32 here.
  expect_near(border_contrast(golden.at("picture")), golden.at("contrast"), 1e-4);
  EXPECT_NEAR(otsu_threshold(golden.at("background")), golden.at("threshold").to_vector<double>()[0], 1e-12);
}

// A plane [9, 9]: a block of 2 behind a ring of 1 on 0, and a path of 0 into the middle of another block.
TEST(BorderContrast, ABarrierIsTheRangeOfTheBestPath) {
  Tensor plane = Tensor::zeros({1, 9, 9}, DType::kF64);
  double* v = plane.mutable_data<double>();
  for (int y = 2; y <= 6; ++y)
    for (int x = 2; x <= 6; ++x) v[9 * y + x] = y == 2 || y == 6 || x == 2 || x == 6 ? 1 : 2;
  EXPECT_EQ(barrier_distance(plane).to_vector<double>()[9 * 4 + 4], 1);
  v[9 * 4 + 4] = 1;  // over the block of 2 it is as far as the block
  EXPECT_EQ(barrier_distance(plane).to_vector<double>()[9 * 4 + 4], 1);
  EXPECT_EQ(barrier_distance(plane).to_vector<double>()[9 * 2 + 4], 0.5);
  v[9 * 3 + 4] = v[9 * 2 + 4] = 0;
  v[9 * 4 + 4] = 0;  // now a path of 0 leads there
  EXPECT_EQ(barrier_distance(plane).to_vector<double>()[9 * 4 + 4], 0);
}

TEST(BorderContrast, TheSameForAnyNumberOfThreads) {
  const Tensor picture = test::load_golden("border_contrast.safetensors").at("picture");
  const std::vector<double> all = border_contrast(picture).to_vector<double>();
  const int threads = thread_count();
  set_thread_count(threads == 1 ? 3 : 1);
  const std::vector<double> others = border_contrast(picture).to_vector<double>();
  set_thread_count(threads);
  EXPECT_EQ(others, all);
}

TEST(BorderContrast, SmallAndEmptyPictures) {
  for (const Shape& shape : {Shape{1, 1, 3}, Shape{1, 7, 3}, Shape{300, 2, 3}}) {
    const Tensor map = border_contrast(Tensor::full(shape, 90, DType::kU8));
    EXPECT_EQ(std::max(map.size(0), map.size(1)), kContrastSide);
    for (const double v : map.to_vector<double>()) ASSERT_EQ(v, 0);
  }
  EXPECT_THROW(border_contrast(Tensor::zeros({4, 4, 3})), Error);
  EXPECT_THROW(border_contrast(Tensor()), Error);
  EXPECT_THROW(barrier_distance(Tensor::zeros({1, 4, 4})), Error);
  EXPECT_THROW(border_distance(Tensor::zeros({4, 4}, DType::kF64)), Error);
  EXPECT_THROW(background_contrast(Tensor::zeros({3, 0, 4}, DType::kF64)), Error);
  EXPECT_THROW(otsu_threshold(Tensor::zeros({4})), Error);
  EXPECT_EQ(otsu_threshold(Tensor::full({4}, 3, DType::kF64)), 3);
}

}  // namespace
}  // namespace usol::maskcut
