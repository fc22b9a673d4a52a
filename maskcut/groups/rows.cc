#include "usol/maskcut/groups/rows.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "usol/tensor/check.h"
#include "usol/tensor/generator.h"

namespace usol::maskcut {
namespace {

constexpr std::uint64_t kSampleStream = 0x73616d70;  // of the generator, so that no other use of a seed repeats it

}  // namespace

Rows rows_of(const Tensor& vectors) {
  check(vectors.defined() && vectors.rank() == 2 && vectors.dtype() == DType::kF32 && vectors.device().is_cpu(),
        "rows: expected f32 [N, D] on the CPU, got {} {}", vectors.dtype(), vectors.shape());
  const Tensor dense = vectors.contiguous();
  return {dense.size(0), dense.size(1), [dense](std::int64_t first, std::int64_t count, float* to) {
            const float* from = dense.data<float>() + first * dense.size(1);
            std::copy(from, from + count * dense.size(1), to);
          }};
}

Rows unit_rows(Rows rows) {
  Rows unit{rows.count, rows.dim, {}};
  unit.read = [rows = std::move(rows)](std::int64_t first, std::int64_t count, float* to) {
    rows.read(first, count, to);
    for (std::int64_t i = 0; i < count; ++i) {
      float* row = to + i * rows.dim;
      double square = 0;
      for (std::int64_t k = 0; k < rows.dim; ++k) square += static_cast<double>(row[k]) * row[k];
      if (square == 0) continue;
      const double length = std::sqrt(square);
      for (std::int64_t k = 0; k < rows.dim; ++k) row[k] = static_cast<float>(row[k] / length);
    }
  };
  return unit;
}

Rows whitened_rows(Rows rows) {
  const auto dim = static_cast<std::size_t>(rows.dim);
  std::vector<float> row(dim), deviation(dim);
  std::vector<double> mean(dim), square(dim);
  const auto for_each_row = [&](auto visit) {
    for (std::int64_t i = 0; i < rows.count; ++i) {
      rows.read(i, 1, row.data());
      for (std::size_t k = 0; k < dim; ++k) visit(k, static_cast<double>(row[k]));
    }
  };
  const auto count = static_cast<double>(std::max<std::int64_t>(rows.count, 1));
  for_each_row([&](std::size_t k, double value) { mean[k] += value / count; });
  for_each_row([&](std::size_t k, double value) { square[k] += (value - mean[k]) * (value - mean[k]) / count; });
  for (std::size_t k = 0; k < dim; ++k) deviation[k] = square[k] > 0 ? static_cast<float>(std::sqrt(square[k])) : 1;
  Rows whitened{rows.count, rows.dim, {}};
  whitened.read = [rows = std::move(rows), deviation](std::int64_t first, std::int64_t n, float* to) {
    rows.read(first, n, to);
    for (std::int64_t i = 0; i < n; ++i)
      for (std::size_t k = 0; k < deviation.size(); ++k) *to++ /= deviation[k];
  };
  return whitened;
}

Tensor sample_rows(const Rows& rows, std::int64_t most, std::uint64_t seed, std::vector<std::int64_t>* positions) {
  check(most >= 1, "sample of rows: expected at least one, got {}", most);
  const std::int64_t count = std::min(most, rows.count);
  Tensor sample = Tensor::empty({count, rows.dim});
  std::vector<std::int64_t> chosen;
  if (count == rows.count) {
    chosen.resize(static_cast<std::size_t>(count));
    std::iota(chosen.begin(), chosen.end(), std::int64_t{0});
    rows.read(0, count, sample.mutable_data<float>());
  } else {
    // Each row is taken with the chance that what is still to be taken has among what is still to come.
    Generator generator(seed, kSampleStream);
    for (std::int64_t i = 0; static_cast<std::int64_t>(chosen.size()) < count; ++i) {
      const auto left = static_cast<std::uint64_t>(rows.count - i);
      const auto wanted = static_cast<std::uint64_t>(count) - chosen.size();
      if (generator.below(left) < wanted) chosen.push_back(i);
    }
    float* to = sample.mutable_data<float>();
    for (const std::int64_t i : chosen) {
      rows.read(i, 1, to);
      to += rows.dim;
    }
  }
  if (positions != nullptr) *positions = std::move(chosen);
  return sample;
}

}  // namespace usol::maskcut
