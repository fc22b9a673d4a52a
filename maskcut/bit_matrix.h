#pragma once
// A symmetric 0/1 matrix at one bit an entry: the binary affinity of MaskCut (3600 patches: 1.6 MB instead of 104 MB),
// and its product with f64 vectors, the hot loop of the eigensolver.

#include <cstdint>
#include <span>
#include <vector>

namespace usol::maskcut {

class BitMatrix {
 public:
  /// n x n zeros. Throws Error if n is negative.
  explicit BitMatrix(std::int64_t n);
  /// From raw(). Throws Error if there are not as many words as n takes.
  BitMatrix(std::int64_t n, std::span<const std::uint64_t> raw);

  std::int64_t size() const { return size_; }
  /// 64-bit words of a row. Bits at columns >= size() are always zero.
  std::int64_t words() const { return words_; }

  bool get(std::int64_t row, std::int64_t column) const { return (word(row, column / 64) >> (column % 64) & 1) != 0; }
  /// Columns [64 w, 64 w + 64) of a row, the lowest column in the lowest bit.
  std::uint64_t word(std::int64_t row, std::int64_t w) const { return bits_[index(row, w)]; }
  void set_word(std::int64_t row, std::int64_t w, std::uint64_t value) { bits_[index(row, w)] = value; }

  /// All words. Eight rows are interleaved word by word, [rows / 8][words][8], so that a vector register, or a group
  /// of eight lanes, takes one word of eight rows at once. Rows are padded with zeros to a multiple of 64, so that
  /// 64 x 64 blocks can be transposed.
  std::span<const std::uint64_t> raw() const { return bits_; }

  /// Copies the upper triangle onto the lower one. Of the lower triangle's old content nothing is kept.
  void mirror_upper();

  /// Sets every entry whose row or column is marked (nonzero; size() marks) to `value`.
  void fill_rows_and_columns(const std::vector<std::uint8_t>& marks, bool value);

  /// Ones in each row.
  std::vector<std::int64_t> row_counts() const;

  /// y = B x for `vectors` vectors: vector v is x + v * stride, with size() elements; y must not overlap x.
  /// The order of every sum is fixed: the bits of y depend neither on the number of threads nor on `vectors`.
  void multiply(const double* x, double* y, std::int64_t vectors, std::int64_t stride) const;

 private:
  std::int64_t index(std::int64_t row, std::int64_t w) const { return ((row / 8) * words_ + w) * 8 + row % 8; }

  std::int64_t size_, words_;
  std::vector<std::uint64_t> bits_;
};

}  // namespace usol::maskcut
