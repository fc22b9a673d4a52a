// The tape itself: accumulation, sharing, release, in-place detection, checkpointing, hooks.
#include "usol/autograd/tape.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "usol/autograd/grad_mode.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/reduce.h"
#include "usol/tensor/allocator.h"
#include "usol/tensor/error.h"

namespace usol {
namespace {

Tensor leaf(std::initializer_list<float> values) {
  Tensor t = Tensor::from<float>(values, {static_cast<std::int64_t>(values.size())});
  return set_requires_grad(t);
}

TEST(Tape, SharedSubexpressionsAddTheirGradients) {
  const Tensor x = leaf({1, 2, 3});
  const Tensor y = mul(x, x);
  backward(sum(add(mul(y, x), y)));  // x^3 + x^2
  EXPECT_EQ(grad(x).to_vector<float>(), (std::vector<float>{5, 16, 33}));
  backward(sum(x));  // accumulates
  EXPECT_EQ(grad(x).to_vector<float>(), (std::vector<float>{6, 17, 34}));
}

TEST(Tape, NothingIsRecordedWithoutGradients) {
  const Tensor x = leaf({1});
  const NoGrad no_grad;
  EXPECT_FALSE(requires_grad(mul(x, x)));
}

TEST(Tape, AGraphIsUsedOnce) {
  const Tensor x = leaf({2});
  const Tensor y = mul(x, x);
  backward(y);
  EXPECT_THROW(backward(y), Error);
  EXPECT_THROW(backward(Tensor::zeros({1})), Error);
}

TEST(Tape, ValuesChangedInPlaceAreNoticed) {
  const Tensor x = leaf({2});
  Tensor factor = Tensor::from<float>({3}, {1});
  const Tensor y = mul(x, factor);
  factor.fill(4);
  try {
    backward(y);
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "mul: a tensor of shape [1] needed for its gradient was changed in place");
  }
}

TEST(Tape, LongChainsNeedNoStackAndLeaveNoMemory) {
  const std::size_t live = allocator(DeviceType::kCpu).stats().live_bytes;
  {
    const Tensor x = leaf({1});
    Tensor y = x;
    for (int i = 0; i < 100000; ++i) y = affine(y, 1, 0);
    backward(y);
    EXPECT_EQ(grad(x).item(), 1);
  }
  EXPECT_EQ(allocator(DeviceType::kCpu).stats().live_bytes, live);
}

TEST(Tape, LongChainsThatNeverRunBackwardAreReleasedWithoutRecursion) {
  const Tensor x = leaf({1});
  Tensor y = x;
  for (int i = 0; i < 300000; ++i) y = affine(y, 1, 0);
  y = Tensor();
  SUCCEED();
}

TEST(Tape, CheckpointRecomputesAndReachesHiddenParameters) {
  const Tensor x = leaf({1, 2}), w = leaf({3, 5});
  int runs = 0;
  const Tensor y = checkpoint(
      [&](const std::vector<Tensor>& in) {
        ++runs;
        return mul(mul(in[0], in[0]), w);
      },
      {x});
  EXPECT_EQ(runs, 1);
  backward(sum(y));
  EXPECT_EQ(runs, 2);
  EXPECT_EQ(grad(x).to_vector<float>(), (std::vector<float>{6, 20}));
  EXPECT_EQ(grad(w).to_vector<float>(), (std::vector<float>{1, 4}));
}

TEST(Tape, HooksRunOnceTheLeafIsFinished) {
  const Tensor x = leaf({3});
  std::vector<double> seen;
  set_grad_hook(x, [&](const Tensor& g) { seen.push_back(g.item()); });
  backward(add(mul(x, x), x));
  EXPECT_EQ(seen, (std::vector<double>{7}));
}

// d/dw of 2 w (checkpoint) + 3 w (checkpoint) + 5 w, the last one first in backward; v is finished before.
TEST(Tape, HooksWaitForTheLastCheckpoint) {
  const Tensor x = leaf({2}), w = leaf({3}), v = leaf({1}), u = leaf({1});
  std::vector<std::pair<char, double>> seen;
  for (const auto& [name, tensor] : {std::pair{'w', w}, {'v', v}, {'u', u}})
    set_grad_hook(tensor, [&seen, of = name](const Tensor& g) { seen.emplace_back(of, g.item()); });
  const auto times_w = [&](const std::vector<Tensor>& in) { return mul(in[0], w); };
  const Tensor first = checkpoint(times_w, {affine(u, 2, 0)}), second = checkpoint(times_w, {affine(x, 1.5, 0)});
  backward(add(add(first, second), mul(affine(w, 5, 0), v)));
  EXPECT_EQ(seen, (std::vector<std::pair<char, double>>{{'v', 15}, {'w', 10}, {'u', 6}}));
}

}  // namespace
}  // namespace usol
