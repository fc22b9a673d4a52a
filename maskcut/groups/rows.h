#pragma once
// Vectors in rows that need not be in memory: what k-means and agglomeration go through, a few thousand at a time.
// Place: between the objects that were described and their groups.

#include <cstdint>
#include <functional>
#include <vector>

#include "usol/tensor/tensor.h"

namespace usol::maskcut {

struct Rows {
  std::int64_t count = 0, dim = 0;
  /// Copies rows first ... first + count - 1 into `to`, f32 [count, dim]. Only one thread calls it at a time.
  std::function<void(std::int64_t first, std::int64_t count, float* to)> read;
  bool unit = false;  // unit_rows() made them
};

inline constexpr std::int64_t kWindowRows = 256;  // a window's rows are a multiple of these, but in the last one

/// Calls visit(first, count, rows f32 [count, dim]) on windows of some 8 MiB, in their order.
void for_windows(const Rows& rows, const std::function<void(std::int64_t, std::int64_t, const float*)>& visit);

/// The rows of a tensor f32 [N, D] on the CPU, which they share. Throws Error on another one.
Rows rows_of(const Tensor& vectors);

/// The same rows at unit length, made on all threads; those of zeros stay as they are, and so do unit_rows().
Rows unit_rows(Rows rows);

/// The same rows with each of their D numbers divided by its standard deviation over all rows (by 1 where that is 0).
/// Goes through the rows twice, at once. LOST clusters descriptions like this, then at unit length.
/// Source: SciPy's vq.whiten; Simeoni et al. 2021, section 3.4.
Rows whitened_rows(Rows rows);

/// At most `most` of the rows, in their order, as f32 [M, D]: all of them, or a sample by `seed` in which each row is
/// as likely as any other. `positions`, if not null, gets which rows they are.
Tensor sample_rows(const Rows& rows, std::int64_t most, std::uint64_t seed,
                   std::vector<std::int64_t>* positions = nullptr);

}  // namespace usol::maskcut
