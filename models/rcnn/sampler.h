#pragma once
// Random subsets of labelled boxes with a limited share of positives. The only randomness of the detector's training.

#include <cstdint>
#include <functional>

#include "usol/tensor/generator.h"
#include "usol/tensor/tensor.h"

namespace usol::rcnn {

struct SampledIndices {
  Tensor positive, negative;  // i64 [P], [M], in the order drawn
};

struct SamplerOptions {
  std::int64_t count = 0;          // P + M at most
  double positive_fraction = 0.5;  // P is at most count * this, rounded down
  std::int64_t background = 0;     // the label of negatives; kIgnored is neither, all others are positive
  std::int64_t picture = 0;        // of the batch, from 0
  bool of_regions = false;         // false: the RPN's anchors
};

/// Chooses among labels i64 [N]. Too few positives are made up for by negatives.
using Sampler = std::function<SampledIndices(const Tensor& labels, const SamplerOptions& options)>;

/// Uniform choice without repeats. What is drawn depends on the generator's seed and stream, on the picture and on
/// which sampling it is, on nothing else: the same pictures may be drawn for in several processes or passes, of which
/// this one begins with number `first_picture` of the whole batch.
Sampler random_sampler(const Generator& generator, std::int64_t first_picture = 0);

/// `count` of the numbers 0 ... n - 1 in random order (all of them if there are fewer); i64 on the CPU.
Tensor sample_without_repeats(std::int64_t n, std::int64_t count, Generator& generator);

}  // namespace usol::rcnn
