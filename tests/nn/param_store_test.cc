#include "usol/nn/param_store.h"

#include <gtest/gtest.h>

#include <cmath>

#include "usol/autograd/tape.h"
#include "usol/nn/init.h"
#include "usol/nn/linear.h"
#include "usol/tensor/allocator.h"
#include "usol/tensor/error.h"

namespace usol {
namespace {

TEST(ParamStore, NamesFollowTheScopes) {
  ParamStore store;
  const Scope root(store);
  const nn::Linear layer(root / "blocks" / 3 / "attn", 4, 5);
  EXPECT_EQ(store.names(), (std::vector<std::string>{"blocks.3.attn.weight", "blocks.3.attn.bias"}));
  EXPECT_TRUE(requires_grad(layer.weight));
  EXPECT_THROW(nn::Linear(root / "blocks" / 3 / "attn", 4, 5), Error);
}

TEST(ParamStore, InitialValuesDependOnTheNameNotOnTheOrder) {
  ParamStore a(1), b(1), c(2);
  const Tensor x = Scope(a).parameter("x", {3, 4}, init::normal(1));
  Scope(b).parameter("y", {3, 4}, init::normal(1));
  EXPECT_EQ(Scope(b).parameter("x", {3, 4}, init::normal(1)).to_vector<float>(), x.to_vector<float>());
  EXPECT_NE(Scope(c).parameter("x", {3, 4}, init::normal(1)).to_vector<float>(), x.to_vector<float>());
}

TEST(ParamStore, LoadWritesInPlaceAndReports) {
  ParamStore store;
  const Tensor w = Scope(store).parameter("w", {2}, init::zeros());
  Scope(store).parameter("v", {2}, init::zeros());
  const LoadReport report = store.load({{"w", Tensor::full({2}, 3)}, {"u", Tensor::zeros({1})}});
  EXPECT_EQ(w.to_vector<float>(), (std::vector<float>{3, 3}));
  EXPECT_EQ(report.missing, std::vector<std::string>{"v"});
  EXPECT_EQ(report.unexpected, std::vector<std::string>{"u"});
  EXPECT_EQ(store.load({{"w", Tensor::zeros({3})}, {"v", Tensor::zeros({2})}}).mismatched,
            std::vector<std::string>{"w: expected [2], got [3]"});
}

TEST(ParamStore, ASourceIsSharedNotCopied) {
  const Tensor w = Tensor::full({2}, 3);
  ParamStore store({{"w", w}, {"left", w}}, {}, DType::kF32);
  EXPECT_EQ(Scope(store).parameter("w", {2}, init::zeros()).raw(), w.raw());
  EXPECT_FALSE(requires_grad(Scope(store).parameter("new", {1}, init::ones())));
  EXPECT_EQ(store.load_report().unexpected, std::vector<std::string>{"left"});
  EXPECT_EQ(store.load_report().missing, std::vector<std::string>{"new"});
}

// As large as any model may be: nothing is allocated, and no initialiser runs.
TEST(ParamStore, ShapesOnly) {
  ParamStore store = ParamStore::shapes_only();
  const Scope scope(store);
  const std::size_t before = allocator(DeviceType::kCpu).stats().live_bytes;
  const Initializer never = [](Tensor&, Generator&) { FAIL() << "an initialiser ran"; };
  const Tensor w = scope.parameter("w", {std::int64_t{1} << 30, 1 << 20}, never);
  EXPECT_EQ(w.shape(), (Shape{std::int64_t{1} << 30, 1 << 20}));
  EXPECT_FALSE(requires_grad(w));
  scope.buffer("b", {7}, never);
  EXPECT_LT(allocator(DeviceType::kCpu).stats().live_bytes - before, 1000u);
  EXPECT_EQ(store.entries().at("b").kind, ParamStore::Kind::kBuffer);
  EXPECT_THROW(scope.parameter("w", {1}, never), Error);
  EXPECT_THROW(scope.parameter("huge", {std::int64_t{1} << 40, std::int64_t{1} << 40}, never), Error);
}

TEST(Init, KaimingFollowsTheFans) {
  ParamStore store;
  const Tensor w = Scope(store).parameter("w", {256, 64, 3, 3}, init::kaiming_normal_fan_out());
  double sum = 0;
  for (float x : w.to_vector<float>()) sum += x * x;
  EXPECT_NEAR(sum / static_cast<double>(w.numel()), 2.0 / (256 * 9), 1e-5);
  const Tensor u = Scope(store).parameter("u", {8, 64}, init::kaiming_uniform(1));
  for (float x : u.to_vector<float>()) EXPECT_LE(std::abs(x), std::sqrt(3.0 / 64) + 1e-6);
}

}  // namespace
}  // namespace usol
