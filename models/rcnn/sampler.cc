#include "usol/models/rcnn/sampler.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "usol/models/rcnn/matcher.h"
#include "usol/ops/compare.h"
#include "usol/ops/gather.h"
#include "usol/tensor/check.h"

namespace usol::rcnn {
namespace {

constexpr int kPartBits = 36;

}  // namespace

Tensor sample_without_repeats(std::int64_t n, std::int64_t count, Generator& generator) {
  std::vector<std::int64_t> numbers(static_cast<std::size_t>(n));
  std::iota(numbers.begin(), numbers.end(), std::int64_t{0});
  count = std::min(n, count);
  for (std::int64_t i = 0; i < count; ++i) {  // the first steps of Fisher and Yates's shuffle
    const auto other = i + static_cast<std::int64_t>(generator.below(static_cast<std::uint64_t>(n - i)));
    std::swap(numbers[static_cast<std::size_t>(i)], numbers[static_cast<std::size_t>(other)]);
  }
  numbers.resize(static_cast<std::size_t>(count));
  return Tensor::from(numbers, {count});
}

Sampler random_sampler(const Generator& start, std::int64_t first_picture) {
  return [start, first_picture](const Tensor& labels, const SamplerOptions& options) {
    check(labels.rank() == 1 && labels.dtype() == DType::kI64, "sampler: expected labels i64 [N], got {} {}",
          labels.dtype(), labels.shape());
    const Tensor is_background = equal(labels, static_cast<double>(options.background));
    const Tensor used = not_equal(labels, static_cast<double>(kIgnored));
    const Tensor positive = nonzero(logical_and(used, logical_not(is_background))), negative = nonzero(is_background);
    const auto most = static_cast<std::int64_t>(static_cast<double>(options.count) * options.positive_fraction);
    const std::int64_t positives = std::min(positive.numel(), most);
    // Each sampling has a part of the stream to itself, much longer than it needs.
    const auto part = static_cast<std::uint64_t>(2 * (first_picture + options.picture) + (options.of_regions ? 1 : 0));
    Generator generator = start;
    generator.set_position(part << kPartBits);
    const auto pick = [&](const Tensor& from, std::int64_t count) {
      return index_select(from, sample_without_repeats(from.numel(), count, generator).to(from.device()));
    };
    const Tensor chosen = pick(positive, positives);
    return SampledIndices{chosen, pick(negative, options.count - positives)};
  };
}

}  // namespace usol::rcnn
