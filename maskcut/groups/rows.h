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
};

/// The rows of a tensor f32 [N, D] on the CPU, which they share. Throws Error on another one.
Rows rows_of(const Tensor& vectors);

/// The same rows at unit length; those of zeros stay as they are.
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
