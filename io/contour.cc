#include "usol/io/contour.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <utility>

#include "usol/tensor/check.h"

namespace usol::io {
namespace {

// Directions of a step between corners: right, down, left, up.
constexpr std::array<std::array<std::int64_t, 2>, 4> kStep = {{{1, 0}, {0, 1}, {-1, 0}, {0, -1}}};

// For every corner, which steps leave it with foreground on the right and background on the left.
class Cracks {
 public:
  explicit Cracks(const Tensor& mask)
      : height_(mask.size(0)), width_(mask.size(1)), leaving_(static_cast<std::size_t>((height_ + 1) * (width_ + 1))) {
    const Tensor dense = mask.contiguous();
    const std::uint8_t* m = dense.data<std::uint8_t>();
    const auto inside = [&](std::int64_t x, std::int64_t y) {
      return x >= 0 && y >= 0 && x < width_ && y < height_ && m[y * width_ + x] != 0;
    };
    for (std::int64_t y = 0; y < height_; ++y)
      for (std::int64_t x = 0; x < width_; ++x) {
        if (!inside(x, y)) continue;
        if (!inside(x, y - 1)) add(x, y, 0);
        if (!inside(x + 1, y)) add(x + 1, y, 1);
        if (!inside(x, y + 1)) add(x + 1, y + 1, 2);
        if (!inside(x - 1, y)) add(x, y + 1, 3);
      }
  }
  /// Walks the ring that starts at a corner, and takes its steps away. At a corner where two pixels touch it turns
  /// right, so it stays with its own pixel.
  Ring take(std::int64_t x, std::int64_t y) {
    Ring ring;
    int direction = first(x, y);
    for (int before = -1; direction >= 0; before = direction, direction = next(x, y, before)) {
      leaving_[at(x, y)] &= static_cast<std::uint8_t>(~(1u << direction));
      if (direction != before) ring.push_back({static_cast<double>(x), static_cast<double>(y)});
      x += kStep[static_cast<std::size_t>(direction)][0];
      y += kStep[static_cast<std::size_t>(direction)][1];
    }
    return ring;
  }
  bool any(std::int64_t x, std::int64_t y) const { return leaving_[at(x, y)] != 0; }

 private:
  std::size_t at(std::int64_t x, std::int64_t y) const { return static_cast<std::size_t>(y * (width_ + 1) + x); }
  void add(std::int64_t x, std::int64_t y, int direction) {
    leaving_[at(x, y)] |= static_cast<std::uint8_t>(1u << direction);
  }
  bool has(std::int64_t x, std::int64_t y, int direction) const { return (leaving_[at(x, y)] >> direction & 1) != 0; }
  int first(std::int64_t x, std::int64_t y) const {
    for (int direction = 0; direction < 4; ++direction)
      if (has(x, y, direction)) return direction;
    return -1;
  }
  int next(std::int64_t x, std::int64_t y, int before) const {
    for (const int turn : {1, 0, 3})
      if (has(x, y, (before + turn) % 4)) return (before + turn) % 4;
    return -1;
  }

  std::int64_t height_, width_;
  std::vector<std::uint8_t> leaving_;
};

}  // namespace

std::vector<Ring> trace_outlines(const Tensor& mask) {
  check(mask.rank() == 2 && mask.dtype() == DType::kU8, "trace_outlines: expected u8 [H, W], got {} {}", mask.dtype(),
        mask.shape());
  std::vector<Ring> rings;
  Cracks cracks(mask);
  for (std::int64_t y = 0; y <= mask.size(0); ++y)
    for (std::int64_t x = 0; x <= mask.size(1); ++x)
      while (cracks.any(x, y)) rings.push_back(cracks.take(x, y));
  return rings;
}

Ring join_rings(const std::vector<Ring>& rings) {
  Ring path;
  for (std::size_t i = rings.size(); i-- > 0;) {
    const Ring& ring = rings[i];
    if (path.empty()) {
      path = ring;
      continue;
    }
    std::size_t here = 0, there = 0;
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t a = 0; a < ring.size(); ++a)
      for (std::size_t b = 0; b < rings[i + 1].size(); ++b) {
        const double dx = ring[a][0] - rings[i + 1][b][0], dy = ring[a][1] - rings[i + 1][b][1];
        if (dx * dx + dy * dy < least) {
          least = dx * dx + dy * dy;
          here = a;
          there = b;
        }
      }
    const auto found = std::find(path.begin(), path.end(), rings[i + 1][there]);
    std::rotate(path.begin(), found, path.end());
    Ring joined(ring.begin(), ring.begin() + static_cast<std::ptrdiff_t>(here) + 1);
    joined.insert(joined.end(), path.begin(), path.end());
    joined.push_back(path.front());
    joined.insert(joined.end(), ring.begin() + static_cast<std::ptrdiff_t>(here), ring.end());
    path = std::move(joined);
  }
  return path;
}

}  // namespace usol::io
