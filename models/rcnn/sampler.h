#pragma once
// Random subsets of labelled boxes with a limited share of positives. The only randomness of the detector's training.

#include <cstdint>
#include <functional>

#include "tensor/generator.h"
#include "tensor/tensor.h"

namespace usol::rcnn {

struct SampledIndices {
  Tensor positive, negative;  // i64 [P], [M], in the order drawn
};

struct SamplerOptions {
  std::int64_t count = 0;          // P + M at most
  double positive_fraction = 0.5;  // P is at most count * this, rounded down
  std::int64_t background = 0;     // the label of negatives; kIgnored is neither, all others are positive
};

/// Chooses among labels i64 [N]. Too few positives are made up for by negatives.
using Sampler = std::function<SampledIndices(const Tensor& labels, const SamplerOptions& options)>;

/// Uniform choice without repeats. The generator must outlive the sampler.
Sampler random_sampler(Generator& generator);

/// `count` of the numbers 0 ... n - 1 in random order (all of them if there are fewer); i64 on the CPU.
Tensor sample_without_repeats(std::int64_t n, std::int64_t count, Generator& generator);

}  // namespace usol::rcnn
