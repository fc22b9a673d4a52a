// The member functions of Tensor, through which no gradient flows, refuse to lose one that is being recorded.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/ops/cast.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/reduce.h"
#include "usol/ops/view.h"
#include "usol/tensor/error.h"
#include "usol/tensor/kernel.h"

namespace usol {
namespace {

using Member = std::function<Tensor(const Tensor&)>;

struct Case {
  const char* name;
  const char* instead;  // what the error says to call
  Member member;
  Member op;  // the same with a gradient; empty where there is none
};

// Of a tensor [2, 1, 3].
const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"reshape", "usol::reshape (ops/view.h)",
       [](const Tensor& t) {
         return t.reshape({3, 2});
       },
       [](const Tensor& t) {
         return reshape(t, {3, 2});
       }},
      {"transpose", "usol::transpose (ops/view.h)", [](const Tensor& t) { return t.transpose(0, 2); },
       [](const Tensor& t) { return transpose(t, 0, 2); }},
      {"permute", "usol::permute (ops/view.h)",
       [](const Tensor& t) {
         return t.permute({2, 0, 1});
       },
       [](const Tensor& t) {
         return permute(t, {2, 0, 1});
       }},
      {"slice", "usol::slice (ops/view.h)", [](const Tensor& t) { return t.slice(2, 0, 2); },
       [](const Tensor& t) { return slice(t, 2, 0, 2); }},
      {"select", "usol::select (ops/view.h)", [](const Tensor& t) { return t.select(0, 1); },
       [](const Tensor& t) { return select(t, 0, 1); }},
      {"expand", "usol::expand (ops/view.h)",
       [](const Tensor& t) {
         return t.expand({2, 4, 3});
       },
       [](const Tensor& t) {
         return expand(t, {2, 4, 3});
       }},
      {"squeeze", "usol::squeeze (ops/view.h)", [](const Tensor& t) { return t.squeeze(1); },
       [](const Tensor& t) { return squeeze(t, 1); }},
      {"unsqueeze", "usol::unsqueeze (ops/view.h)", [](const Tensor& t) { return t.unsqueeze(0); },
       [](const Tensor& t) { return unsqueeze(t, 0); }},
      {"as_strided",
       "functions of ops/view.h",
       [](const Tensor& t) {
         return t.as_strided({2, 2}, {3, 1}, 0);
       },
       {}},
      {"contiguous", "usol::contiguous (ops/view.h)", [](const Tensor& t) { return t.contiguous(); },
       [](const Tensor& t) { return contiguous(t); }},
      {"clone", "usol::contiguous (ops/view.h)", [](const Tensor& t) { return t.clone(); }, {}},
      {"to", "usol::cast (ops/cast.h)", [](const Tensor& t) { return t.to(DType::kF64); },
       [](const Tensor& t) { return cast(t, DType::kF64); }},
  };
  return all;
}

// A leaf [2, 1, 3] that is not dense, so that contiguous() copies.
Tensor leaf() {
  Tensor t = Tensor::from<float>({0, 1, 2, 3, 4, 5}, {3, 1, 2}).transpose(0, 2);
  return set_requires_grad(t);
}

std::string refusal(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
    return e.what();
  }
  return "";
}

TEST(LostGradient, EveryMemberNamesTheFunctionToCall) {
  const Tensor x = leaf(), y = transpose(mul(x, x), 0, 2);
  const Tensor computed = transpose(contiguous(y), 0, 2);
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    for (const Tensor& t : {x, computed})
      EXPECT_EQ(refusal([&] { c.member(t); }),
                std::string(c.name) +
                    ": this member function would lose the gradient that is recorded through a tensor of shape "
                    "[2, 1, 3]; expected a call of " +
                    c.instead + ", or of detach() first where no gradient is wanted");
  }
}

TEST(LostGradient, TheFunctionThatIsNamedKeepsIt) {
  for (const Case& c : cases()) {
    if (!c.op) continue;
    SCOPED_TRACE(c.name);
    const Tensor x = leaf(), view = c.op(x), expected = c.member(x.detach());
    EXPECT_EQ(view.detach().to(DType::kF32).to_vector<float>(), expected.to(DType::kF32).to_vector<float>());
    ASSERT_TRUE(requires_grad(view));
    backward(sum(view));
    EXPECT_EQ(sum(grad(x)).item(), static_cast<double>(view.numel()));
  }
}

TEST(LostGradient, WhatReturnsTheTensorItselfKeepsItsGradient) {
  Tensor dense = Tensor::zeros({2});
  set_requires_grad(dense);
  EXPECT_TRUE(requires_grad(dense.contiguous()));
  EXPECT_TRUE(requires_grad(dense.to(DType::kF32)));
  EXPECT_TRUE(requires_grad(dense.to(Device::cpu())));
}

TEST(LostGradient, ElementsMayBeReadAndWritten) {
  Tensor x = leaf(), one = Tensor::zeros({1, 1});
  set_requires_grad(one);
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{0, 2, 4, 1, 3, 5}));
  EXPECT_EQ(one.item(), 0);
  Tensor to = Tensor::zeros({4, 2, 1, 3});
  to.copy_from(x);
  EXPECT_EQ(to.select(0, 3).to_vector<float>(), x.to_vector<float>());
  x.copy_from(Tensor::full({3}, 2));
  EXPECT_EQ(x.to_vector<float>(), std::vector<float>(6, 2));
}

TEST(LostGradient, WhereNothingIsRecordedNothingIsRefused) {
  const Tensor x = leaf();
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    EXPECT_NO_THROW(c.member(x.detach()));
    {
      const NoGrad no_grad;
      EXPECT_NO_THROW(c.member(x));
      const GradMode recording(true);
      EXPECT_THROW(c.member(x), Error);
    }
    EXPECT_THROW(c.member(x), Error);
    bool in_vjp = false;
    backward(sum(record("a test's", {x}, x.detach(), [&](const Tensor& grad, const Needs&) {
      c.member(x);
      in_vjp = true;
      return std::vector<Tensor>{grad};
    })));
    EXPECT_TRUE(in_vjp);
  }
}

TEST(LostGradient, KernelsSeeElements) {
  static int sizes;
  Kernel<void(const Tensor&)> kernel("a test's");
  kernel.set(DeviceType::kCpu, [](const Tensor& t) { sizes += static_cast<int>(t.transpose(0, 2).size(0)); });
  filled_kernel_slots().pop_back();
  const Tensor x = leaf();
  sizes = 0;
  kernel({}, x);
  EXPECT_EQ(sizes, 3);
  EXPECT_THROW(x.transpose(0, 2), Error);
}

}  // namespace
}  // namespace usol
