// A function recorded on a device and replayed: when it is called, what it sees, and what cannot be recorded.
#include "usol/tensor/graph.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/devices.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/linear.h"
#include "usol/tensor/allocator.h"
#include "usol/tensor/error.h"

namespace usol {
namespace {

std::vector<float> ramp(std::int64_t count, float start) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < count; ++i) values.push_back(start + 0.25f * static_cast<float>(i));
  return values;
}

Tensor matrix(std::int64_t rows, std::int64_t cols, float start) {
  return Tensor::from(ramp(rows * cols, start), {rows, cols});
}

TEST(Graph, OnTheCpuTheFunctionIsCalled) {
  int calls = 0;
  GraphedFunction twice(
      [&](const Tensor& x) {
        ++calls;
        return affine(x, 2);
      },
      Device::cpu());
  for (int i = 1; i <= 3; ++i) EXPECT_EQ(twice(matrix(1, 2, 1)).to_vector<float>(), (std::vector<float>{2, 2.5f}));
  EXPECT_EQ(calls, 3);
}

// Each test works on a stream of its own, as the threads of a pipeline do.
class CudaGraph : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::cuda_available()) GTEST_SKIP() << "no CUDA device answers";
    stream_.emplace(Stream::create(Device::cuda()));
    scope_.emplace(*stream_);
    weight_ = matrix(3, 4, -1).to(Device::cuda());
  }

  // A little network of the kernels and temporaries of a real one.
  Tensor forward(const Tensor& x) {
    ++calls_;
    const Tensor hidden = gelu(linear(x, weight_, Tensor()));
    return affine(add(hidden, mul(hidden, hidden)), 0.5, 1);
  }
  std::vector<float> eager(const Tensor& x) {
    const int before = calls_;
    const auto result = forward(x.to(Device::cuda())).to_vector<float>();
    calls_ = before;
    return result;
  }
  GraphedFunction graphed(std::size_t most_shapes = 4) {
    return {[this](const Tensor& x) { return forward(x); }, Device::cuda(), most_shapes};
  }

  Tensor weight_;
  int calls_ = 0;
  std::optional<Stream> stream_;
  std::optional<StreamScope> scope_;
};

TEST_F(CudaGraph, ReplaysWhatItRecordedOncePerShape) {
  GraphedFunction function = graphed();
  for (int i = 0; i < 5; ++i) {
    const auto start = static_cast<float>(i);
    EXPECT_EQ(function(matrix(2, 4, start)).to_vector<float>(), eager(matrix(2, 4, start))) << i;
    EXPECT_EQ(calls_, 2) << "once for plans and workspaces, once to record";
  }
  const Tensor other = matrix(5, 4, 0.5f);
  EXPECT_EQ(function(other).to_vector<float>(), eager(other));
  EXPECT_EQ(calls_, 4);
  EXPECT_EQ(function(matrix(2, 4, 9)).to_vector<float>(), eager(matrix(2, 4, 9))) << "the first shape's is still there";
  EXPECT_EQ(function(other.to(Device::cuda())).to_vector<float>(), eager(other)) << "an input on the device";
  EXPECT_EQ(calls_, 4);
}

TEST_F(CudaGraph, ResultsDoNotChangeWithLaterCalls) {
  GraphedFunction function = graphed();
  const Tensor first = function(matrix(2, 4, 1)), second = function(matrix(2, 4, 2));
  EXPECT_EQ(first.to_vector<float>(), eager(matrix(2, 4, 1)));
  EXPECT_EQ(second.to_vector<float>(), eager(matrix(2, 4, 2)));
}

TEST_F(CudaGraph, BeyondTheMostShapesItCallsTheFunction) {
  GraphedFunction function = graphed(1);
  for (const int rows : {2, 3, 3, 2}) {
    const Tensor x = matrix(rows, 4, 1);
    EXPECT_EQ(function(x).to_vector<float>(), eager(x));
  }
  EXPECT_EQ(calls_, 4);
}

TEST_F(CudaGraph, ValuesWrittenIntoWeightsCount) {
  GraphedFunction function = graphed();
  const Tensor x = matrix(2, 4, 1);
  const auto before = function(x).to_vector<float>();
  weight_.copy_from(matrix(3, 4, 2));
  EXPECT_EQ(function(x).to_vector<float>(), eager(x));
  EXPECT_NE(function(x).to_vector<float>(), before);
  EXPECT_EQ(calls_, 2);
}

TEST_F(CudaGraph, WhatCannotBeRecordedIsAnErrorAndTheStreamGoesOn) {
  GraphedFunction looks(
      [this](const Tensor& x) {
        ++calls_;
        return affine(x, x.to(Device::cpu()).to_vector<float>()[0]);  // waits for the device: a value decides
      },
      Device::cuda());
  try {
    looks(matrix(2, 4, 1));
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDevice);
    EXPECT_NE(std::string(error.what()).find("apture"), std::string::npos) << error.what();
  }
  EXPECT_EQ(calls_, 2);
  GraphedFunction function = graphed();
  EXPECT_EQ(function(matrix(2, 4, 3)).to_vector<float>(), eager(matrix(2, 4, 3)));
}

TEST_F(CudaGraph, BelongsToOneThreadAndOneStream) {
  GraphedFunction function = graphed();
  function(matrix(2, 4, 1));
  {
    const StreamScope other(Stream::create(Device::cuda()));
    EXPECT_THROW(function(matrix(2, 4, 1)), Error);
  }
  std::thread([&] { EXPECT_THROW(function(matrix(2, 4, 1)), Error); }).join();
}

TEST_F(CudaGraph, LeavesNoMemoryBehind) {
  const Allocator& memory = allocator(DeviceType::kCuda);
  const std::size_t before = memory.stats().live_bytes;
  {
    GraphedFunction function = graphed();
    function(matrix(2, 4, 1));
    function(matrix(3, 4, 1));
    EXPECT_GT(memory.stats().live_bytes, before);
  }
  EXPECT_EQ(memory.stats().live_bytes, before);
}

}  // namespace
}  // namespace usol
