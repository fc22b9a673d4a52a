#pragma once
// A mask as bits within its box: 64 pixels at a time for what copy-paste asks of hundreds of masks at once.
// Place: train/copy_paste.cc; tight boxes serve train/augment.cc too.

#include <cstdint>
#include <vector>

namespace usol::train {

/// Pixels x0 <= x < x1 and y0 <= y < y1; all four are 0 where there is none.
struct PixelBox {
  std::int64_t x0 = 0, y0 = 0, x1 = 0, y1 = 0;

  bool empty() const { return x1 <= x0 || y1 <= y0; }
  std::int64_t pixels() const { return empty() ? 0 : (x1 - x0) * (y1 - y0); }
  bool operator==(const PixelBox&) const = default;
};
/// Pixels of both; empty() if there are none.
PixelBox common(const PixelBox& a, const PixelBox& b);
/// The tight box of a mask u8 [height, width]; nonzero is foreground.
PixelBox tight_box(const std::uint8_t* mask, std::int64_t height, std::int64_t width);

/// Rows of bits in a frame of `height` x `width` pixels, kept for the words that its box touches. Bit x % 64 of word
/// x / 64 is pixel x, so that words of two masks of one frame can be combined.
class BitMask {
 public:
  static constexpr std::int64_t kBits = 64;

  /// Without foreground, with room for the pixels of `box`.
  explicit BitMask(const PixelBox& box);
  /// Of a mask u8 [height, width]; nonzero is foreground. The room is the tight box.
  static BitMask of(const std::uint8_t* mask, std::int64_t height, std::int64_t width);
  /// Of a mask of rows of `width` pixels, which is 0 outside of `room`.
  static BitMask of(const std::uint8_t* mask, std::int64_t width, const PixelBox& room);

  /// What there is room for.
  const PixelBox& room() const { return room_; }
  /// The tight box.
  PixelBox box() const;
  /// Foreground pixels, counted anew at each call.
  std::int64_t area() const;

  /// The words of row y, which must lie in the room; pixel x is in row(y)[x / 64 - first_word()].
  std::uint64_t* row(std::int64_t y) { return words_.data() + (y - room_.y0) * stride_; }
  const std::uint64_t* row(std::int64_t y) const { return words_.data() + (y - room_.y0) * stride_; }
  std::int64_t first_word() const { return first_word_; }
  /// Words of a row.
  std::int64_t stride() const { return stride_; }

  /// Foreground of both, in pixels.
  std::int64_t overlap(const BitMask& other) const;
  /// Adds the other's foreground, which must lie in this one's room.
  void add(const BitMask& other);
  /// Takes the other's foreground away.
  void remove(const BitMask& other);
  /// Writes the foreground as 1 into a mask u8 [., width] of the frame, whose other pixels stay.
  void write(std::uint8_t* mask, std::int64_t width) const;

 private:
  struct Shared;  // rows and words that two masks have room for
  Shared shared_with(const BitMask& other) const;

  PixelBox room_;
  std::int64_t first_word_ = 0, stride_ = 0;
  std::vector<std::uint64_t> words_;
};

}  // namespace usol::train
