#pragma once
// Gradients of processes that train together, added up in buckets: each bucket is on its way as soon as backward() has
// finished its gradients, so that most of the communication is hidden behind the rest of backward.
// Source: Li et al. 2020, "PyTorch Distributed: Experiences on Accelerating Data Parallel Training".

#include <cstdint>
#include <future>
#include <vector>

#include "usol/ops/all_reduce.h"

namespace usol::train {

/// Ranks whose sums can travel while the caller goes on.
class OverlappingRanks : public Communicator {
 public:
  /// Begins all_reduce_sum() and returns at once. Nobody may touch `tensor` until get() of the result, called by the
  /// same thread, has waited for the sum; it throws what all_reduce_sum() would throw. Every rank starts the same
  /// sums in the same order; how they take turns with all_reduce_sum() may differ between ranks.
  virtual std::future<void> start_all_reduce_sum(Tensor tensor) = 0;
};

struct GradientSumsOptions {
  /// A bucket is closed by the parameter that brings it to this size. The first one is small, so that something is on
  /// its way early. PyTorch's sizes.
  std::int64_t first_bytes = 1 << 20, bytes = 25 << 20;
  /// false: everything starts in finish(). The buckets are the same, and so are the sums' bits.
  bool overlap = true;
};

class GradientSums {
 public:
  /// `parameters`: leaves, in the order in which a forward pass uses them (backward finishes the last ones first): the
  /// same on all ranks. `ranks` must outlive this; sums of ranks that are no OverlappingRanks are made in finish().
  /// Takes the leaves' hooks (set_grad_hook).
  GradientSums(std::vector<Tensor> parameters, Communicator& ranks, const GradientSumsOptions& options = {});
  ~GradientSums();
  GradientSums(const GradientSums&) = delete;
  GradientSums& operator=(const GradientSums&) = delete;

  /// The next backward() is the last one of the step: what it finishes may go on its way.
  void expect_last_backward();
  /// Starts what has not started and waits for all: every rank's gradients are the sums now, and a parameter that had
  /// none on any rank has none. Throws Error where communication fails, or if a gradient came after its sum had begun.
  void finish();
  /// What each bucket sends, in the order in which they start.
  std::vector<std::int64_t> bucket_bytes() const;

 private:
  struct Bucket {
    std::vector<Tensor> parameters;
    std::size_t waits_for = 0;  // gradients
    Tensor values;              // all gradients, then a 1 for each parameter that has one
    std::future<void> sum;      // of ranks that overlap
  };
  void start(Bucket& bucket) const;
  static void take(Bucket& bucket);

  Communicator& ranks_;
  OverlappingRanks* overlapping_;
  bool overlap_;
  std::vector<Bucket> buckets_;
  bool armed_ = false;
  std::size_t started_ = 0;  // so many buckets: they start in their order, which is the same on all ranks
};

}  // namespace usol::train
