// Everything of BitMatrix but the product, which is in bit_matrix_product.cc.
#include "usol/maskcut/bit_matrix.h"

#include <array>
#include <bit>
#include <utility>

#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol::maskcut {
namespace {

using Block = std::array<std::uint64_t, 64>;  // 64 x 64 bits, one word a row

// Swaps ever smaller off-diagonal squares: six rounds instead of 4096 single bits.
void transpose(Block& block) {
  std::uint64_t low = 0x00000000FFFFFFFFull;
  for (int step = 32; step != 0; step >>= 1, low ^= low << step) {
    for (int row = 0; row < 64; row = (row + step + 1) & ~step) {
      std::uint64_t& upper = block[static_cast<std::size_t>(row)];
      std::uint64_t& lower = block[static_cast<std::size_t>(row + step)];
      const std::uint64_t exchanged = ((upper >> step) ^ lower) & low;
      upper ^= exchanged << step;
      lower ^= exchanged;
    }
  }
}

}  // namespace

BitMatrix::BitMatrix(std::int64_t n) : size_(n), words_((n + 63) / 64) {
  check(n >= 0, "bit_matrix: expected a size of at least 0, got {}", n);
  bits_.assign(static_cast<std::size_t>(words_ * 64 * words_), 0);
}

BitMatrix::BitMatrix(std::int64_t n, std::span<const std::uint64_t> raw) : BitMatrix(n) {
  check(raw.size() == bits_.size(), "bit_matrix: expected {} words for size {}, got {}", bits_.size(), n, raw.size());
  bits_.assign(raw.begin(), raw.end());
}

void BitMatrix::mirror_upper() {
  parallel_for_each(0, words_, [&](std::int64_t row_block) {
    Block block;
    for (std::int64_t w = row_block; w < words_; ++w) {
      for (std::int64_t r = 0; r < 64; ++r) block[static_cast<std::size_t>(r)] = word(row_block * 64 + r, w);
      const Block original = block;
      transpose(block);
      if (w != row_block) {
        for (std::int64_t r = 0; r < 64; ++r) set_word(w * 64 + r, row_block, block[static_cast<std::size_t>(r)]);
        continue;
      }
      for (std::int64_t r = 0; r < 64; ++r) {
        const auto i = static_cast<std::size_t>(r);
        const std::uint64_t below_diagonal = (std::uint64_t{1} << r) - 1;
        set_word(row_block * 64 + r, w, (original[i] & ~below_diagonal) | (block[i] & below_diagonal));
      }
    }
  });
}

void BitMatrix::fill_rows_and_columns(const std::vector<std::uint8_t>& marks, bool value) {
  check(static_cast<std::int64_t>(marks.size()) == size_, "bit_matrix: expected {} marks, got {}", size_, marks.size());
  std::vector<std::uint64_t> marked(static_cast<std::size_t>(words_), 0), inside(marked);
  for (std::int64_t i = 0; i < size_; ++i) {
    const std::uint64_t bit = std::uint64_t{1} << (i % 64);
    inside[static_cast<std::size_t>(i / 64)] |= bit;
    if (marks[static_cast<std::size_t>(i)] != 0) marked[static_cast<std::size_t>(i / 64)] |= bit;
  }
  parallel_for(0, size_, 256, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      const bool whole_row = marks[static_cast<std::size_t>(row)] != 0;
      for (std::int64_t w = 0; w < words_; ++w) {
        const std::uint64_t changed = (whole_row ? inside : marked)[static_cast<std::size_t>(w)];
        std::uint64_t& bits = bits_[static_cast<std::size_t>(index(row, w))];
        bits = value ? bits | changed : bits & ~changed;
      }
    }
  });
}

std::vector<std::int64_t> BitMatrix::row_counts() const {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(size_));
  parallel_for(0, size_, 256, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      std::int64_t count = 0;
      for (std::int64_t w = 0; w < words_; ++w) count += std::popcount(word(row, w));
      counts[static_cast<std::size_t>(row)] = count;
    }
  });
  return counts;
}

}  // namespace usol::maskcut
