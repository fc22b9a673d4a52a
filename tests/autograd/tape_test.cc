// The tape itself: accumulation, sharing, release, in-place detection, checkpointing, hooks.
#include "usol/autograd/tape.h"

#include <gtest/gtest.h>

#include <functional>
#include <utility>
#include <vector>

#include "usol/autograd/grad_mode.h"
#include "usol/autograd/in_place.h"
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

// Twice the input, with a gradient that `make` returns.
Tensor with_gradient(const Tensor& x, const std::function<Tensor()>& make) {
  return record("test", {x}, affine(x.detach(), 2),
                [=](const Tensor&, const Needs&) { return std::vector<Tensor>{make()}; });
}

TEST(Tape, GradientsThatNobodyElseHoldsAreNotCopied) {
  const Tensor x = leaf({1, 2});
  std::vector<const std::byte*> made;
  const auto make = [&] {
    const Tensor fresh = Tensor::full({2}, 3);
    made.push_back(fresh.raw());
    return fresh;
  };
  const std::byte* seen = nullptr;
  const Tensor middle = record("test", {x}, affine(x.detach(), 1), [&](const Tensor& grad, const Needs&) {
    seen = grad.raw();
    EXPECT_EQ(grad.to_vector<float>(), (std::vector<float>{6, 6}));
    return std::vector<Tensor>{make()};
  });
  backward(sum(add(with_gradient(middle, make), with_gradient(middle, make))));
  ASSERT_EQ(made.size(), 3U);
  EXPECT_EQ(seen, made[0]);  // the second one was added to the first
  EXPECT_EQ(grad(x).raw(), made[2]);
}

TEST(Tape, GradientsThatOthersHoldAreNotWrittenTo) {
  const Tensor kept = Tensor::from<float>({3, 4}, {2}), x = leaf({1, 2}), z = leaf({1, 2});
  const auto keep = [&] { return kept; };
  const Tensor middle = affine(x, 1);
  backward(sum(add(with_gradient(middle, keep), with_gradient(middle, keep))));
  EXPECT_EQ(grad(x).to_vector<float>(), (std::vector<float>{6, 8}));
  backward(sum(with_gradient(z, keep)));
  EXPECT_NE(grad(z).raw(), kept.raw());
  EXPECT_EQ(kept.to_vector<float>(), (std::vector<float>{3, 4}));
}

TEST(Tape, AGradientThatIsPartOfMoreOrOneNumberForSeveralIsCopied) {
  const Tensor x = leaf({1, 2}), z = leaf({1, 2}), y = leaf({1, 2});
  backward(sum(with_gradient(x, [] { return Tensor::full({4}, 3).slice(0, 2, 4); })));
  EXPECT_EQ(grad(x).storage()->bytes(), 2 * sizeof(float));
  const auto one = [] { return Tensor::full({1}, 3).expand({2}); };
  const Tensor middle = affine(z, 1);
  const Tensor later = with_gradient(middle, [] { return Tensor::arange(2, DType::kF32); });
  backward(sum(add(later, with_gradient(middle, one))));  // the last one's gradient is there first
  backward(sum(with_gradient(y, one)));
  EXPECT_EQ(grad(z).to_vector<float>(), (std::vector<float>{3, 4}));
  EXPECT_TRUE(grad(y).is_contiguous());
}

TEST(Tape, AResultMayTakeTheGradientsPlaceWhereNobodyElseHoldsIt) {
  const Tensor x = leaf({1, 2});
  const Tensor kept = Tensor::full({2}, 3);
  const auto in_place = [&](const std::function<Tensor()>& make) {
    bool same = false;
    const Tensor middle = record("test", {x}, affine(x.detach(), 1), [&](const Tensor& grad, const Needs&) {
      const Tensor result = in_place_of(grad);
      EXPECT_EQ(result.shape(), grad.shape());
      same = result.raw() == grad.raw();
      return std::vector<Tensor>{Tensor::zeros({2})};
    });
    backward(sum(with_gradient(middle, make)));
    return same;
  };
  EXPECT_TRUE(in_place([] { return Tensor::full({2}, 3); }));
  EXPECT_FALSE(in_place([&] { return kept; }));
  EXPECT_FALSE(in_place([] { return Tensor::full({1}, 3).expand({2}); }));
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
