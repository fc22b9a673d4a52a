#include "usol/train/bit_mask.h"

#include <algorithm>
#include <bit>

namespace usol::train {
namespace {

bool any(const std::uint8_t* first, std::int64_t count) {
  std::uint8_t all = 0;
  for (std::int64_t i = 0; i < count; ++i) all |= first[i];
  return all != 0;
}

// Ones of a word in steps that need no instruction of newer processors: std::popcount is a call without it.
std::uint64_t ones(std::uint64_t word) {
  word -= word >> 1 & 0x5555555555555555u;
  word = (word & 0x3333333333333333u) + (word >> 2 & 0x3333333333333333u);
  word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  word += word >> 8;
  word += word >> 16;
  return (word + (word >> 32)) & 0x7f;
}

}  // namespace

PixelBox common(const PixelBox& a, const PixelBox& b) {
  return {std::max(a.x0, b.x0), std::max(a.y0, b.y0), std::min(a.x1, b.x1), std::min(a.y1, b.y1)};
}

PixelBox tight_box(const std::uint8_t* mask, std::int64_t height, std::int64_t width) {
  PixelBox box{width, height, 0, 0};
  const auto set = [](std::uint8_t v) { return v != 0; };
  for (std::int64_t y = 0; y < height; ++y) {
    const std::uint8_t* row = mask + y * width;
    if (!any(row, width)) continue;
    box.y0 = std::min(box.y0, y);
    box.y1 = y + 1;
    box.x0 = std::min<std::int64_t>(box.x0, std::find_if(row, row + width, set) - row);
    std::int64_t right = width;
    while (row[right - 1] == 0) --right;
    box.x1 = std::max(box.x1, right);
  }
  return box.y1 == 0 ? PixelBox{} : box;
}

BitMask::BitMask(const PixelBox& box)
    : room_(box.empty() ? PixelBox{} : box),
      first_word_(room_.x0 / kBits),
      stride_((room_.x1 + kBits - 1) / kBits - first_word_),
      words_(static_cast<std::size_t>(stride_ * (room_.y1 - room_.y0))) {}

BitMask BitMask::of(const std::uint8_t* mask, std::int64_t height, std::int64_t width) {
  return of(mask, width, tight_box(mask, height, width));
}

BitMask BitMask::of(const std::uint8_t* mask, std::int64_t width, const PixelBox& room) {
  BitMask result(room);
  const PixelBox& box = result.room_;
  for (std::int64_t y = box.y0; y < box.y1; ++y) {
    std::uint64_t* words = result.row(y);
    for (std::int64_t w = 0; w < result.stride_; ++w) {
      const std::int64_t x0 = (w + result.first_word_) * kBits, count = std::min(kBits, width - x0);
      const std::uint8_t* pixels = mask + y * width + x0;
      if (!any(pixels, count)) continue;
      for (std::int64_t i = 0; i < count; ++i) words[w] |= static_cast<std::uint64_t>(pixels[i] != 0) << i;
    }
  }
  return result;
}

struct BitMask::Shared {
  std::int64_t y0, y1, w0, w1;
};

BitMask::Shared BitMask::shared_with(const BitMask& other) const {
  return {std::max(room_.y0, other.room_.y0), std::min(room_.y1, other.room_.y1),
          std::max(first_word_, other.first_word_), std::min(first_word_ + stride_, other.first_word_ + other.stride_)};
}

PixelBox BitMask::box() const {
  PixelBox box{room_.x1, room_.y1, 0, 0};
  for (std::int64_t y = room_.y0; y < room_.y1; ++y) {
    const std::uint64_t* words = row(y);
    std::int64_t left = 0, right = stride_;
    while (left < stride_ && words[left] == 0) ++left;
    if (left == stride_) continue;
    while (words[right - 1] == 0) --right;
    box.y0 = std::min(box.y0, y);
    box.y1 = y + 1;
    box.x0 = std::min(box.x0, (first_word_ + left) * kBits + std::countr_zero(words[left]));
    box.x1 = std::max(box.x1, (first_word_ + right) * kBits - std::countl_zero(words[right - 1]));
  }
  return box.y1 == 0 ? PixelBox{} : box;
}

std::int64_t BitMask::area() const {
  std::uint64_t sum = 0;
  for (const std::uint64_t word : words_) sum += ones(word);
  return static_cast<std::int64_t>(sum);
}

std::int64_t BitMask::overlap(const BitMask& other) const {
  const Shared shared = shared_with(other);
  std::uint64_t sum = 0;
  for (std::int64_t y = shared.y0; y < shared.y1; ++y) {
    const std::uint64_t *a = row(y), *b = other.row(y);
    for (std::int64_t w = shared.w0; w < shared.w1; ++w) sum += ones(a[w - first_word_] & b[w - other.first_word_]);
  }
  return static_cast<std::int64_t>(sum);
}

void BitMask::add(const BitMask& other) {
  const Shared shared = shared_with(other);
  for (std::int64_t y = shared.y0; y < shared.y1; ++y) {
    std::uint64_t* to = row(y);
    const std::uint64_t* from = other.row(y);
    for (std::int64_t w = shared.w0; w < shared.w1; ++w) to[w - first_word_] |= from[w - other.first_word_];
  }
}

void BitMask::remove(const BitMask& other) {
  const Shared shared = shared_with(other);
  for (std::int64_t y = shared.y0; y < shared.y1; ++y) {
    std::uint64_t* to = row(y);
    const std::uint64_t* from = other.row(y);
    for (std::int64_t w = shared.w0; w < shared.w1; ++w) to[w - first_word_] &= ~from[w - other.first_word_];
  }
}

void BitMask::write(std::uint8_t* mask, std::int64_t width) const {
  for (std::int64_t y = room_.y0; y < room_.y1; ++y) {
    const std::uint64_t* words = row(y);
    for (std::int64_t w = 0; w < stride_; ++w) {
      if (words[w] == 0) continue;
      const std::int64_t x0 = (first_word_ + w) * kBits, count = std::min(kBits, width - x0);
      std::uint8_t* to = mask + y * width + x0;
      for (std::int64_t i = 0; i < count; ++i) to[i] |= static_cast<std::uint8_t>(words[w] >> i & 1);
    }
  }
}

}  // namespace usol::train
