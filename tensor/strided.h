#pragma once
// StridedLoop: walks several tensors of one shape together, whatever their strides, in the order of the first operand's
// memory. Dimensions that are dense for all operands are merged first, so contiguous operands run as one long inner
// loop, and so do operands that all lie in memory in another order (tensor/layout.h).

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>

#include "usol/tensor/parallel.h"
#include "usol/tensor/shape.h"

namespace usol {

class StridedLoop {
 public:
  static constexpr int kMaxOperands = 4;
  using Offsets = std::array<std::int64_t, kMaxOperands>;

  /// `strides[k]` are operand k's strides in elements (0 where it is broadcast).
  StridedLoop(const Shape& shape, std::initializer_list<Shape> strides) : operands_(static_cast<int>(strides.size())) {
    std::array<int, Shape::kMaxRank> order{};
    int dims = 0;
    for (int d = 0; d < shape.rank(); ++d)
      if (shape[d] != 1) order[static_cast<std::size_t>(dims++)] = d;
    const Shape& first = *strides.begin();
    std::stable_sort(order.begin(), order.begin() + dims, [&](int a, int b) { return first[a] > first[b]; });
    for (int i = 0; i < dims; ++i) {
      const int d = order[static_cast<std::size_t>(i)];
      Offsets s{};
      int k = 0;
      for (const Shape& operand : strides) s[static_cast<std::size_t>(k++)] = operand[d];
      if (rank_ > 0 && merges(s, shape[d])) {
        sizes_[last()] *= shape[d];
        strides_[last()] = s;
      } else {
        sizes_[static_cast<std::size_t>(rank_)] = shape[d];
        strides_[static_cast<std::size_t>(rank_++)] = s;
      }
    }
    if (rank_ == 0) {
      sizes_[0] = shape.numel();  // 1, or 0 when some size is 0
      rank_ = 1;
    }
    rows_ = 1;
    for (int d = 0; d + 1 < rank_; ++d) rows_ *= sizes_[static_cast<std::size_t>(d)];
    if (shape.numel() == 0) rows_ = 0;
  }

  /// body(offsets, count, inner_strides) for each innermost run; offsets are in elements, one per operand.
  template <class Body>
  void serial(Body&& body) const {
    run(0, rows_ * pieces(), body);
  }

  /// As serial(), over threads: runs are independent.
  template <class Body>
  void parallel(Body&& body) const {
    const std::int64_t run_length = std::max<std::int64_t>(1, (sizes_[last()] + pieces() - 1) / pieces());
    parallel_for(0, rows_ * pieces(), std::max<std::int64_t>(1, kGrain / run_length),
                 [&](std::int64_t first, std::int64_t end) { run(first, end, body); });
  }

 private:
  static constexpr std::int64_t kGrain = 32768;  // elements a thread is worth waking for

  std::size_t last() const { return static_cast<std::size_t>(rank_ - 1); }
  bool merges(const Offsets& inner, std::int64_t inner_size) const {
    for (int k = 0; k < operands_; ++k) {
      const auto i = static_cast<std::size_t>(k);
      if (strides_[last()][i] != inner[i] * inner_size) return false;
    }
    return true;
  }
  // A long single row is cut into pieces, so that it can be shared between threads.
  std::int64_t pieces() const { return rows_ == 1 ? std::max<std::int64_t>(1, sizes_[last()] / kGrain) : 1; }

  template <class Body>
  void run(std::int64_t first, std::int64_t end, Body&& body) const {
    const std::int64_t cuts = pieces(), inner = sizes_[last()];
    for (std::int64_t r = first; r < end; ++r) {
      std::int64_t row = r / cuts;
      const std::int64_t cut = r % cuts, begin = inner * cut / cuts, stop = inner * (cut + 1) / cuts;
      Offsets offsets{};
      for (int d = rank_ - 2; d >= 0; --d) {
        const auto i = static_cast<std::size_t>(d);
        const std::int64_t index = row % sizes_[i];
        row /= sizes_[i];
        for (int k = 0; k < operands_; ++k)
          offsets[static_cast<std::size_t>(k)] += index * strides_[i][static_cast<std::size_t>(k)];
      }
      for (int k = 0; k < operands_; ++k)
        offsets[static_cast<std::size_t>(k)] += begin * strides_[last()][static_cast<std::size_t>(k)];
      body(offsets, stop - begin, strides_[last()]);
    }
  }

  int operands_;
  int rank_ = 0;
  std::array<std::int64_t, Shape::kMaxRank> sizes_{};
  std::array<Offsets, Shape::kMaxRank> strides_{};
  std::int64_t rows_ = 0;
};

}  // namespace usol
