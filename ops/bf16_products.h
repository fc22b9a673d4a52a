#pragma once
// The one product that everything in bf16 on the CPU is made of (attention_bf16.cc, linear_bf16.cc): by AVX512-BF16
// (bf16_products_avx512.cc), or by plain arithmetic that gives the same bits.

#include <cstdint>

#include "usol/tensor/half.h"

namespace usol {

/// A product of a few rows with a panel of columns, over pairs of neighbouring elements.
struct Bf16Tile {
  const bf16* a;  // `rows` rows of 2 `pairs` elements, a_stride elements apart
  std::int64_t a_stride;
  const std::uint32_t* b;  // `pairs` rows of kColumns words, b_stride words apart: word (i, c) holds elements 2i (low
  std::int64_t b_stride;   // half) and 2i + 1 of column c
  float* sums;             // `rows` rows of kColumns sums, sums_stride apart
  std::int64_t sums_stride;
  std::int64_t pairs;
  int rows;         // 1 ... kRows
  bool accumulate;  // to what is in `sums`; otherwise from 0
};

struct Bf16Products {
  static constexpr int kRows = 6, kColumns = 64;

  /// sums[r][c] (+)= a[r] . b[.][c]. To each sum, pair by pair, first the product of the odd elements is added, then
  /// that of the even ones, rounding after each (to nearest even; subnormals count as zero): what VDPBF16PS does.
  void (*multiply)(const Bf16Tile& tile);
};

/// By AVX512-BF16; null where the CPU (or the compiler) has none.
const Bf16Products* avx512_bf16_products();
/// The same bits by plain arithmetic: what the instruction is held to. Slow.
const Bf16Products* emulated_bf16_products();
/// What attention() and linear() use for bf16 tensors: avx512_bf16_products() unless a test sets another. Null: widen
/// to f32.
const Bf16Products* bf16_products();
void set_bf16_products(const Bf16Products* products);

/// Rows of a matrix, `row_stride` elements apart, as columns of Bf16Tile::b: word (i, c) of `to` [pairs, kColumns] gets
/// elements 2i and 2i + 1 of row c. Zero from row `rows` on; 2 `pairs` is `width`, or one more.
void pack_bf16_rows(const bf16* from, std::int64_t row_stride, std::int64_t rows, std::int64_t width,
                    std::uint32_t* to);

}  // namespace usol
