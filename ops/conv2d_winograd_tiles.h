#pragma once
// The tiles of ops/conv2d_winograd.cc and ops/conv2d_winograd_grad.cc: where they lie, and their transforms, vectorised
// over channels. For those files only.

#include <array>
#include <cstdint>

#include "usol/tensor/shape.h"

namespace usol {

inline constexpr int kWinogradTile = 6, kWinogradOut = 4;  // a tile of 6 x 6 gives 4 x 4 results
inline constexpr int kWinogradPositions = kWinogradTile * kWinogradTile;
inline constexpr std::int64_t kWinogradChannels = 16;  // numbers of channels are multiples of it
// The points of the interpolation: 0, +-kNear, +-kFar and infinity.
inline constexpr float kNear = 0.75f, kFar = 1.5f;

/// G: the powers of each point, divided by the product of its differences to the others.
std::array<std::array<double, 3>, kWinogradTile> winograd_kernel_matrix();

/// The tiles of a convolution's result [N, C, H, W], picture by picture, row by row.
class WinogradTiles {
 public:
  struct Place {
    std::int64_t image, top, left;  // of its first result
  };

  explicit WinogradTiles(const Shape& result)
      : across_(along(result[3])), per_image_(across_ * along(result[2])), count_(result[0] * per_image_) {}
  std::int64_t count() const { return count_; }
  Place place(std::int64_t tile) const {
    return {tile / per_image_, tile % per_image_ / across_ * kWinogradOut, tile % across_ * kWinogradOut};
  }

 private:
  static std::int64_t along(std::int64_t size) { return (size + kWinogradOut - 1) / kWinogradOut; }
  std::int64_t across_, per_image_, count_;
};

/// A map with its channels last in memory.
template <class T>
struct WinogradMap {
  T* data;
  std::int64_t height, width, channels;

  /// The `side` x `side` pixels from (top, left) on, y before x; `outside` for those that the map does not have.
  void pixels(std::int64_t image, std::int64_t top, std::int64_t left, int side, T* outside, T** to) const {
    for (std::int64_t y = top; y < top + side; ++y)
      for (std::int64_t x = left; x < left + side; ++x) {
        const bool inside = y >= 0 && y < height && x >= 0 && x < width;
        *to++ = inside ? data + ((image * height + y) * width + x) * channels : outside;
      }
  }
};

/// B^T d B. pixels: 36 rows of `channels`, y before x; to[position * stride + channel].
void winograd_input(const float* const* pixels, std::int64_t channels, float* to, std::int64_t stride);

/// y = [relu] (A^T m A + bias + (accumulate ? y : 0)). from[position * stride + channel]; rows: 16 rows of `channels`,
/// y before x, null for those outside the map; bias may be null. `channels` is a multiple of 16 in both.
void winograd_output(const float* from, std::int64_t stride, std::int64_t channels, const float* bias, bool accumulate,
                     bool relu, float* const* rows);

/// A dy A^T, the gradient of winograd_output(). pixels: 16 rows of `channels`; to[position * stride + channel].
void winograd_output_grad(const float* const* pixels, std::int64_t channels, float* to, std::int64_t stride);

}  // namespace usol
