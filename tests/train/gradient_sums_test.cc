// Gradients added up while backward goes on are those added up after it, bit for bit.
#include "usol/train/gradient_sums.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "tests/support/thread_ranks.h"
#include "usol/autograd/tape.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/reduce.h"
#include "usol/tensor/error.h"

namespace usol::train {
namespace {

using test::ThreadRanks;
using Gradients = std::vector<std::vector<float>>;  // by parameter; empty: none

constexpr std::int64_t kSize = 1000;

// A chain of products with six parameters, so that each one's gradient needs all later ones.
struct Net {
  std::vector<Tensor> parameters;

  Net() {
    for (int i = 0; i < 6; ++i) {
      Tensor t = Tensor::empty({kSize});
      for (std::int64_t k = 0; k < kSize; ++k)
        t.mutable_data<float>()[k] = 1.0f + 0.001f * static_cast<float>((k * 7 + 13 * i) % 101);
      parameters.push_back(set_requires_grad(t));
    }
  }
  Tensor input(int rank, int pass) const {
    Tensor x = Tensor::empty({kSize});
    for (std::int64_t k = 0; k < kSize; ++k)
      x.mutable_data<float>()[k] = 0.1f + 0.37f * static_cast<float>((k + 3 * rank + 5 * pass) % 17);
    return x;
  }
  Tensor loss(Tensor x) const {
    for (const Tensor& p : parameters) x = mul(x, p);
    return sum(x);
  }
  Gradients gradients() const {
    Gradients all;
    for (const Tensor& p : parameters)
      all.push_back(grad(p).defined() ? grad(p).to_vector<float>() : std::vector<float>{});
    return all;
  }
};

// 4000 bytes a parameter: the first bucket has one, the others have two.
GradientSumsOptions small_buckets(bool overlap) { return {.first_bytes = 4000, .bytes = 8000, .overlap = overlap}; }

using Passes = std::function<void(Net&, Communicator&, GradientSums&)>;

// The gradients of every rank after these passes, with finish() at their end; all ranks must have the same.
Gradients after(const Passes& passes, bool overlap, int size = 3) {
  std::vector<Gradients> results(static_cast<std::size_t>(size));
  ThreadRanks::run(size, [&](ThreadRanks::Rank& rank) {
    Net net;
    GradientSums sums(net.parameters, rank, small_buckets(overlap));
    EXPECT_EQ(sums.bucket_bytes(), (std::vector<std::int64_t>{4004, 8008, 8008, 4004}));
    passes(net, rank, sums);
    sums.finish();
    EXPECT_EQ(rank.started(), 4);
    results[static_cast<std::size_t>(rank.rank())] = net.gradients();
  });
  for (const Gradients& g : results) EXPECT_EQ(g, results[0]);
  return results[0];
}

void one_pass(Net& net, Communicator& rank, GradientSums& sums) {
  sums.expect_last_backward();
  backward(net.loss(net.input(rank.rank(), 0)));
}

TEST(GradientSums, OverlappedSumsAreTheSameBits) {
  Gradients wanted(6);
  Net net;
  std::vector<Tensor> total;
  for (int rank = 0; rank < 3; ++rank) {
    for (const Tensor& p : net.parameters) set_grad(p, {});
    backward(net.loss(net.input(rank, 0)));
    for (std::size_t i = 0; i < 6; ++i)
      if (rank == 0)
        total.push_back(grad(net.parameters[i]));
      else
        total[i] = add(total[i], grad(net.parameters[i]));
  }
  for (std::size_t i = 0; i < 6; ++i) wanted[i] = total[i].to_vector<float>();
  EXPECT_EQ(after(one_pass, false), wanted);
  EXPECT_EQ(after(one_pass, true), wanted);
}

// While the first parameters' gradients are computed, those of the last ones are on their way.
TEST(GradientSums, BucketsStartDuringBackward) {
  ThreadRanks::run(2, [&](ThreadRanks::Rank& rank) {
    Net net;
    GradientSums sums(net.parameters, rank, small_buckets(true));
    std::vector<int> started;
    Tensor x = net.input(rank.rank(), 0);
    for (std::size_t i = 0; i < 6; ++i) {
      x = mul(x, net.parameters[i]);
      // Runs in backward between the products of this parameter and of the one before it.
      x = record("spy", {x}, x, [&](const Tensor& g, const Needs&) {
        started.push_back(rank.started());
        return std::vector<Tensor>{g};
      });
    }
    sums.expect_last_backward();
    backward(sum(x));
    EXPECT_EQ(started, (std::vector<int>{0, 1, 1, 2, 2, 3}));
    EXPECT_EQ(rank.started(), 4);
    sums.finish();
  });
}

// Only the last pass's backward finishes gradients.
TEST(GradientSums, PassesAccumulateBeforeTheSum) {
  const auto three_passes = [](Net& net, Communicator& rank, GradientSums& sums) {
    for (int pass = 0; pass < 3; ++pass) {
      if (pass == 2) sums.expect_last_backward();
      backward(net.loss(net.input(rank.rank(), pass)));
    }
  };
  const Gradients wanted = after(three_passes, false);
  EXPECT_NE(wanted, after(one_pass, false));
  EXPECT_EQ(after(three_passes, true), wanted);
  // The last pass was given up: what there is is summed.
  const auto given_up = [](Net& net, Communicator& rank, GradientSums&) {
    backward(net.loss(net.input(rank.rank(), 0)));
  };
  EXPECT_EQ(after(given_up, true), after(one_pass, false));
}

// Parameter 4 has no gradient on any rank, parameter 2 has one on rank 1 alone.
TEST(GradientSums, UnusedParameters) {
  const auto unused = [](Net& net, Communicator& rank, GradientSums& sums) {
    Tensor x = net.input(rank.rank(), 0);
    for (std::size_t i = 0; i < 6; ++i)
      if (i != 4 && (i != 2 || rank.rank() == 1)) x = mul(x, net.parameters[i]);
    sums.expect_last_backward();
    backward(sum(x));
  };
  const Gradients wanted = after(unused, false);
  EXPECT_EQ(wanted[2].size(), 1000u);
  EXPECT_TRUE(wanted[4].empty());
  EXPECT_EQ(after(unused, true), wanted);
}

// Parameters that are used inside checkpoints, one of them in two.
TEST(GradientSums, GradientCheckpoints) {
  const auto checkpointed = [](Net& net, Communicator& rank, GradientSums& sums) {
    const auto& p = net.parameters;
    Tensor x = mul(net.input(rank.rank(), 0), p[0]);
    for (std::size_t i = 1; i < 5; ++i)
      x = checkpoint([&, i](const std::vector<Tensor>& in) { return mul(mul(in[0], p[i]), p[5]); }, {x});
    sums.expect_last_backward();
    backward(sum(x));
  };
  EXPECT_EQ(after(checkpointed, true), after(checkpointed, false));
}

TEST(GradientSums, StepAfterStep) {
  const auto steps = [](Net& net, Communicator& rank, GradientSums& sums) {
    one_pass(net, rank, sums);
    sums.finish();
    for (const Tensor& p : net.parameters) set_grad(p, {});
    sums.expect_last_backward();
    backward(net.loss(net.input(rank.rank(), 1)));
  };
  std::vector<Gradients> both;
  for (const bool overlap : {false, true}) {
    ThreadRanks::run(2, [&](ThreadRanks::Rank& rank) {
      Net net;
      GradientSums sums(net.parameters, rank, small_buckets(overlap));
      steps(net, rank, sums);
      sums.finish();
      if (rank.rank() == 0) both.push_back(net.gradients());
    });
  }
  EXPECT_EQ(both[0], both[1]);
}

TEST(GradientSums, AGradientThatComesTooLateIsAnError) {
  ThreadRanks::run(2, [&](ThreadRanks::Rank& rank) {
    Net net;
    GradientSums sums(net.parameters, rank, small_buckets(true));
    one_pass(net, rank, sums);
    backward(net.loss(net.input(rank.rank(), 1)));
    EXPECT_THROW(sums.finish(), Error);
  });
}

// All that a Communicator must be able to do.
class Plain : public Communicator {
 public:
  explicit Plain(Communicator& ranks) : ranks_(ranks) {}
  int rank() const override { return ranks_.rank(); }
  int size() const override { return ranks_.size(); }
  void all_reduce_sum(Tensor& tensor) override { ranks_.all_reduce_sum(tensor); }

 private:
  Communicator& ranks_;
};

TEST(GradientSums, RanksThatCannotOverlap) {
  const Gradients wanted = after(one_pass, false, 2);
  ThreadRanks::run(2, [&](ThreadRanks::Rank& rank) {
    Plain plain(rank);
    Net net;
    GradientSums sums(net.parameters, plain, small_buckets(true));
    one_pass(net, plain, sums);
    EXPECT_EQ(rank.started(), 0);
    sums.finish();
    EXPECT_EQ(net.gradients(), wanted);
  });
}

TEST(GradientSums, HooksEndWithIt) {
  ThreadRanks::run(1, [&](ThreadRanks::Rank& rank) {
    Net net;
    { const GradientSums sums(net.parameters, rank, small_buckets(true)); }
    backward(net.loss(net.input(0, 0)));
    EXPECT_EQ(rank.started(), 0);
  });
}

}  // namespace
}  // namespace usol::train
