#pragma once
// Words of Bf16Tile (ops/bf16_products.h) for products whose inner dimension is the rows of a matrix: pixels, or tiles.

#include <cstdint>

#include "usol/tensor/half.h"

namespace usol {

/// to[i * stride + c] = the elements c of rows 2i (low half) and 2i + 1, for i < pairs, c < n.
void pack_bf16_pairs(const bf16* const* rows, std::int64_t pairs, std::int64_t n, std::uint32_t* to,
                     std::int64_t stride);

}  // namespace usol
