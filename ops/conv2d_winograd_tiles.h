#pragma once
// The transforms of one tile of ops/conv2d_winograd.cc, vectorised over channels. For that file only.

#include <cstdint>

namespace usol {

inline constexpr int kWinogradTile = 6, kWinogradOut = 4;  // a tile of 6 x 6 gives 4 x 4 results
// The points of the interpolation: 0, +-kNear, +-kFar and infinity.
inline constexpr float kNear = 0.75f, kFar = 1.5f;

/// B^T d B. pixels: 36 rows of `channels`, y before x; to[position * stride + channel].
void winograd_input(const float* const* pixels, std::int64_t channels, float* to, std::int64_t stride);

/// y = [relu] (A^T m A + bias + (accumulate ? y : 0)). from[position * stride + channel]; rows: 16 rows of `channels`,
/// y before x, null for those outside the map; bias may be null. `channels` is a multiple of 16 in both.
void winograd_output(const float* from, std::int64_t stride, std::int64_t channels, const float* bias, bool accumulate,
                     bool relu, float* const* rows);

}  // namespace usol
