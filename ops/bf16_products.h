#pragma once
// The one product that everything in bf16 on the CPU is made of (attention_bf16.cc, linear_bf16.cc,
// conv2d_winograd_bf16.cc, conv2d_grad_weight_bf16.cc), and what becomes of its sums: attention's exponential, a linear
// layer's bias and activation. By AVX512-BF16 (bf16_products_avx512.cc), by AMX where it is faster
// (bf16_products_amx.cc), or by plain arithmetic.

#include <cstdint>

#include "usol/ops/gemm.h"
#include "usol/tensor/half.h"

namespace usol {

/// A product of a few rows with a panel of columns, over pairs of neighbouring elements.
struct Bf16Tile {
  const bf16* a;  // `rows` rows of `pairs` pairs, a_stride elements apart
  std::int64_t a_stride;
  const std::uint32_t* b;  // `pairs` rows of kColumns words, b_stride words apart: word (i, c) holds elements 2i (low
  std::int64_t b_stride;   // half) and 2i + 1 of column c
  float* sums;             // `rows` rows of kColumns sums, sums_stride apart
  std::int64_t sums_stride;
  std::int64_t pairs;
  int rows;                 // 1 ... Bf16Products::rows
  bool accumulate;          // to what is in `sums`; otherwise from 0
  std::int64_t a_step = 2;  // elements from a pair of a row to its next one: 2 where they lie one after another
};

/// Scores of a few rows with the keys of one panel, which become attention's weights 2^((score - base) factor).
struct Bf16Scores {
  const float* scores;  // `rows` rows of kColumns, `stride` apart
  bf16* weights;        // likewise, each row in the order of pairs (bf16_first_of_pair)
  std::int64_t stride;
  float factor;       // > 0
  const float* base;  // [rows]
  float* sums;        // [rows, kSums], to which the weights are added as VDPBF16PS adds products with ones
  int rows;           // 1 ... Bf16Products::rows
};

/// Sums of a few rows, which become a linear layer's result: activation(sum + bias + added), rounded to bf16.
struct Bf16Sums {
  const float* sums;  // `rows` rows of kColumns
  const float* bias;  // kColumns
  bf16* out;          // `rows` rows of `columns`, out_stride apart
  std::int64_t out_stride;
  int rows, columns;  // 1 ... Bf16Products::rows, 1 ... kColumns
  Activation activation;
  bool accumulate;  // what is in `out` is added
};

struct Bf16Products {
  static constexpr int kRows = 6, kMostRows = 32, kColumns = 64, kSums = 16;

  int rows;  // that are best multiplied at once: kRows ... kMostRows

  /// sums[r][c] (+)= a[r] . b[.][c], in f32. avx512_bf16_products() and emulated_bf16_products(): to each sum, pair by
  /// pair, first the product of the odd elements is added, then that of the even ones, rounding after each (to nearest
  /// even; subnormals count as zero): what VDPBF16PS does. amx_bf16_products(): of each 16 pairs the products of even
  /// elements are added up, those of odd ones likewise, then both to each other and to the sum: what TDPBF16PS does.
  void (*multiply)(const Bf16Tile& tile);

  /// Weights as bf16, at once rather than by rounding an f32: the bits of a bf16 are 128 (x + 127) for x = log2 of it,
  /// but for a correction that depends on the fraction of x alone. x is rounded to 1/256, the correction comes from a
  /// table of 64 places, and their sum is rounded to the bits. So a weight is within kWeightError of the exact one, and
  /// 1 is exact; x of -126 or less gives 0 or a subnormal, which the products take as zero. Scores for which a weight
  /// cannot be made so (NaN, x of 128 or more, x below -2^23) give a NaN or an infinity.
  void (*soften)(const Bf16Scores& scores);
  static constexpr double kWeightError = 6.6e-3;

  /// Sums to results. GELU is max(x, 0) - a Phi(-a) with a = min(|x|, 3.87) and Phi(-a), of the normal distribution,
  /// by a polynomial of degree 2 for each quarter: within kGeluError |x| of the exact one before it is rounded.
  void (*finish)(const Bf16Sums& sums);
  static constexpr double kGeluError = 6e-5;

  /// Null, or what is called before and after several products of a thread so that not each of them needs to: see
  /// Bf16Section.
  void (*begin)() = nullptr;
  void (*end)() = nullptr;
};

/// While it lives, products of this thread go without preparing the CPU for each. Nothing else may use AMX's tiles
/// meanwhile (oneDNN does). Not needed for right results.
class Bf16Section {
 public:
  explicit Bf16Section(const Bf16Products& products) : end_(products.end) {
    if (products.begin) products.begin();
  }
  ~Bf16Section() {
    if (end_) end_();
  }
  Bf16Section(const Bf16Section&) = delete;
  Bf16Section& operator=(const Bf16Section&) = delete;

 private:
  void (*end_)();
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
/// By AMX; null where the CPU has none, or Linux does not let this process use it.
const Bf16Products* amx_bf16_products();
/// avx512_bf16_products()'s bits by plain arithmetic: what the instruction is held to. Slow.
const Bf16Products* emulated_bf16_products();
/// What attention() and linear() use for bf16 tensors: the fastest of this CPU unless a test sets another. Null: widen
/// to f32. AMX is left alone where oneDNN has been told to (ONEDNN_MAX_CPU_ISA).
const Bf16Products* bf16_products();
void set_bf16_products(const Bf16Products* products);

/// -Phi(-a) around each quarter up to 15/4: constant, linear and quadratic term of a less the quarter. Interpolated at
/// Chebyshev's points; the last is 0 at 3.87, so that beyond it GELU is x, or 0 but for 1e-9.
inline constexpr float kBf16GeluEnd = 3.87f;
inline constexpr float kBf16Gelu[3][16] = {
    {-0.500004053f, -0.401293665f, -0.308537543f, -0.22662735f, -0.158655256f, -0.105649777f, -0.066807203f,
     -0.0400591567f, -0.0227501318f, -0.0122244731f, -0.00620966544f, -0.00297976332f, -0.00134989806f,
     -0.000577025057f, -0.000232629085f, -9.49562891e-05f},
    {0.39952448f, 0.385961264f, 0.351550221f, 0.300880104f, 0.241970167f, 0.18284893f, 0.129832998f, 0.0866242796f,
     0.05430701f, 0.0319914296f, 0.0177081246f, 0.00921027176f, 0.00450124824f, 0.002067063f, 0.00089193735f,
     0.000547254691f},
    {-0.0124335233f, -0.0481951274f, -0.0877803788f, -0.11265815f, -0.120749339f, -0.113995507f, -0.0970669612f,
     -0.0754970834f, -0.0540435053f, -0.0357788913f, -0.0219798442f, -0.0125593431f, -0.00668673962f, -0.00332158012f,
     -0.00154101499f, 0.00203373889f},
};

/// Rows of a matrix, `row_stride` elements apart, as columns of Bf16Tile::b: word (i, c) of `to` [pairs, kColumns] gets
/// elements 2i and 2i + 1 of row c. Zero from row `rows` on; 2 `pairs` is `width`, or one more.
void pack_bf16_rows(const bf16* from, std::int64_t row_stride, std::int64_t rows, std::int64_t width,
                    std::uint32_t* to);

}  // namespace usol
