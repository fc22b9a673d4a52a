// Statistics of batch norms over many batches, against fvcore's update_bn_stats.
#include "usol/nn/norm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/golden.h"
#include "usol/autograd/grad_mode.h"
#include "usol/nn/conv.h"

namespace usol::nn {
namespace {

TEST(NormStatistics, EqualFvcoresPreciseBn) {
  const StateDict golden = test::load_golden("precise_bn.safetensors");
  ParamStore store;
  const Scope scope(store);
  ConvConfig first{.stride = 2, .padding = 1, .norm = NormKind::kBn, .relu = true},
      second{.padding = 1, .norm = NormKind::kBn};
  const Conv2d a(scope / "a", 3, 6, 3, first), b(scope / "b", 6, 4, 3, second);
  StateDict start;
  for (const auto& [ours, theirs] : {std::pair<std::string, std::string>{"a", "0"}, {"b", "3"}})
    start[ours + ".weight"] = golden.at("start." + theirs + ".weight");
  for (const auto& [ours, theirs] : {std::pair<std::string, std::string>{"a", "1"}, {"b", "4"}})
    for (const char* name : {"weight", "bias", "running_mean", "running_var"})
      start[ours + ".norm." + name] = golden.at("start." + theirs + "." + name);
  store.load(start).require_ok("golden");

  const NoGrad no_grad;
  NormStatistics statistics;
  const Context context{.training = true, .statistics = &statistics};
  for (int i = 0; i < 4; ++i) b(a(golden.at("batch." + std::to_string(i)), context), context);
  EXPECT_EQ(statistics.size(), 2);
  EXPECT_EQ(a.norm->batch()->running_mean.to_vector<float>(), golden.at("start.1.running_mean").to_vector<float>());
  statistics.store();
  for (const auto& [ours, theirs] : {std::pair<std::string, std::string>{"a", "1"}, {"b", "4"}}) {
    for (const char* name : {"running_mean", "running_var"}) {
      const auto got = store.entries().at(ours + ".norm." + name).tensor.to_vector<float>();
      const auto expected = golden.at("after." + theirs + "." + name).to_vector<float>();
      float most = 0;
      for (float v : expected) most = std::max(most, std::abs(v));
      for (std::size_t c = 0; c < expected.size(); ++c)
        EXPECT_NEAR(got[c], expected[c], 1e-5F * most) << ours << " " << name << " " << c;
    }
  }
}

}  // namespace
}  // namespace usol::nn
