// Sums of squares, bit for bit those of the two ops, by any number of threads.
#include "usol/train/sums_of_squares.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <vector>

#include "usol/ops/elementwise.h"
#include "usol/ops/reduce.h"
#include "usol/tensor/error.h"
#include "usol/tensor/generator.h"
#include "usol/tensor/parallel.h"

namespace usol::train {
namespace {

std::vector<Tensor> gradients() {
  Generator generator(7);
  std::vector<Tensor> made;
  for (const std::int64_t count : {1, 5, 255, 256, 257, 2047, 2048, 4096 + 300, 65536, 3 * 65536 + 11}) {
    std::vector<float> values;
    for (std::int64_t i = 0; i < count; ++i) values.push_back(generator.normal());
    made.push_back(Tensor::from(values, {count}));
  }
  made.push_back(Tensor::from(std::vector<float>(6 * 128, 0.3f), {2, 3, 128}));
  made.push_back(Tensor::zeros({0}));
  return made;
}

TEST(SumsOfSquares, AreThoseOfTheOpsForAnyThreads) {
  const std::vector<Tensor> tensors = gradients();
  std::vector<float> expected;
  for (const Tensor& t : tensors) expected.push_back(static_cast<float>(sum(mul(t, t)).item()));
  for (const int threads : {1, 2, 3}) {
    set_thread_count(threads);
    EXPECT_EQ(sums_of_squares(tensors), expected) << threads;
  }
  set_thread_count(0);
}

TEST(SumsOfSquares, ShowWhatIsNotFinite) {
  std::vector<float> values(1000, 1.0f);
  values[700] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(sums_of_squares({Tensor::from(values, {1000})})[0], std::numeric_limits<float>::infinity());
  values[700] = 1e30f;
  EXPECT_EQ(sums_of_squares({Tensor::from(values, {1000})})[0], std::numeric_limits<float>::infinity());
  EXPECT_TRUE(sums_of_squares({}).empty());
}

TEST(SumsOfSquares, TakeDenseF32Only) {
  EXPECT_THROW(sums_of_squares({Tensor::zeros({4}, DType::kF64)}), Error);
  EXPECT_THROW(sums_of_squares({Tensor::zeros({4, 4}).transpose(0, 1)}), Error);
}

}  // namespace
}  // namespace usol::train
