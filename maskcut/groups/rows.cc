#include "usol/maskcut/groups/rows.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "usol/maskcut/groups/lane_sum.h"
#include "usol/tensor/check.h"
#include "usol/tensor/generator.h"
#include "usol/tensor/parallel.h"

namespace usol::maskcut {
namespace {

constexpr std::int64_t kWindowBytes = 8 << 20;
constexpr std::int64_t kLeastNumbers = 1 << 16;      // that are worth a thread
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

void for_windows(const Rows& rows, const std::function<void(std::int64_t, std::int64_t, const float*)>& visit) {
  const std::int64_t row_bytes = std::max<std::int64_t>(rows.dim, 1) * 4;
  const std::int64_t window = std::max<std::int64_t>(kWindowBytes / (row_bytes * kWindowRows), 1) * kWindowRows;
  std::vector<float> values(static_cast<std::size_t>(std::min(window, rows.count) * rows.dim));
  for (std::int64_t first = 0; first < rows.count; first += window) {
    const std::int64_t count = std::min(window, rows.count - first);
    rows.read(first, count, values.data());
    visit(first, count, values.data());
  }
}

Rows unit_rows(Rows rows) {
  if (rows.unit) return rows;
  Rows unit{rows.count, rows.dim, {}, true};
  unit.read = [rows = std::move(rows)](std::int64_t first, std::int64_t count, float* to) {
    rows.read(first, count, to);
    parallel_for(0, count, kLeastNumbers / std::max<std::int64_t>(rows.dim, 1) + 1,
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t i = begin; i < end; ++i) {
                     float* row = to + i * rows.dim;
                     const double square =
                         lane_sum(rows.dim, [row](std::int64_t k) { return static_cast<double>(row[k]) * row[k]; });
                     if (square == 0) continue;
                     const double length = std::sqrt(square);
                     for (std::int64_t k = 0; k < rows.dim; ++k) row[k] = static_cast<float>(row[k] / length);
                   }
                 });
  };
  return unit;
}

Rows whitened_rows(Rows rows) {
  const auto dim = static_cast<std::size_t>(rows.dim);
  std::vector<float> deviation(dim);
  std::vector<double> mean(dim), square(dim);
  const auto for_each_row = [&](const auto& visit) {
    for_windows(rows, [&](std::int64_t, std::int64_t n, const float* values) {
      for (std::int64_t i = 0; i < n; ++i, values += dim)
        for (std::size_t k = 0; k < dim; ++k) visit(k, static_cast<double>(values[k]));
    });
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
