#pragma once
// The one product that everything in bf16 on the CPU is made of (attention_bf16.cc, linear_bf16.cc), and the
// exponential between attention's two products: by AVX512-BF16 (bf16_products_avx512.cc), or by plain arithmetic that
// gives the same bits.

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

/// Scores of a few rows with the keys of one panel, which become attention's weights 2^((score - base) factor).
struct Bf16Scores {
  const float* scores;  // `rows` rows of kColumns, `stride` apart
  bf16* weights;        // likewise, each row in the order of pairs (bf16_first_of_pair)
  std::int64_t stride;
  float factor;       // > 0
  const float* base;  // [rows]
  float* sums;        // [rows, kSums], to which the weights are added as VDPBF16PS adds products with ones
  int rows;           // 1 ... kRows
};

struct Bf16Products {
  static constexpr int kRows = 6, kColumns = 64, kSums = 16;

  /// sums[r][c] (+)= a[r] . b[.][c]. To each sum, pair by pair, first the product of the odd elements is added, then
  /// that of the even ones, rounding after each (to nearest even; subnormals count as zero): what VDPBF16PS does.
  void (*multiply)(const Bf16Tile& tile);

  /// Weights as bf16, at once rather than by rounding an f32: the bits of a bf16 are 128 (x + 127) for x = log2 of it,
  /// but for a correction that depends on the fraction of x alone. x is rounded to 1/256, the correction comes from a
  /// table of 64 places, and their sum is rounded to the bits. So a weight is within kWeightError of the exact one, and
  /// 1 is exact; x of -126 or less gives 0 or a subnormal, which the products take as zero. Scores for which a weight
  /// cannot be made so (NaN, x of 128 or more, x below -2^23) give a NaN or an infinity.
  void (*soften)(const Bf16Scores& scores);
  static constexpr double kWeightError = 6.6e-3;
};

/// The weights of two neighbouring keys are a pair; the keys of a panel's pair i are this one and the next. The order
/// of pairs is that in which AVX-512 narrows two vectors of 32 bits to one of 16.
constexpr std::int64_t bf16_first_of_pair(std::int64_t i) {
  return i / 16 * 32 + i % 2 * 2 + i / 2 % 2 * 16 + i / 4 % 4 * 4;
}

/// What soften() adds to 256 (x + 127) for each 64th of x's fraction before it halves the sum: 256 (2^f - 1 - f) on
/// average over the 64th, and 1/2 for rounding.
inline constexpr std::int16_t kBf16Mantissa[64] = {
    0,   -1,  -2,  -3,  -5,  -6,  -7,  -8,  -9,  -10, -11, -11, -12, -13, -14, -15, -15, -16, -17, -17, -18, -18,
    -19, -19, -20, -20, -20, -21, -21, -21, -21, -21, -21, -22, -22, -21, -21, -21, -21, -21, -21, -20, -20, -19,
    -19, -19, -18, -17, -17, -16, -15, -14, -14, -13, -12, -11, -10, -8,  -7,  -6,  -5,  -3,  -2,  0};

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
