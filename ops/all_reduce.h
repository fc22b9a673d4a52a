#pragma once
// What ops need to know of other processes that train together: how to add up a tensor over all of them. Who talks to
// whom, and through what library, is not their business.

#include "usol/tensor/tensor.h"

namespace usol {

/// A group of ranks. Every rank makes the same calls in the same order.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Replaces `tensor` (dense, floating, of one shape and dtype everywhere) by its sum over the ranks: the same bits on
  /// every rank. Throws Error where communication fails.
  virtual void all_reduce_sum(Tensor& tensor) = 0;
};

}  // namespace usol
