// The product of bf16 pairs and the weights of attention: the files of intrinsics, with AVX512-BF16's two instructions
// replaced by AVX-512's plain ones and AMX's tiles by arrays, and on CPUs that have them the instructions themselves,
// against plain arithmetic, bit for bit; the plain arithmetic against f64.
#include "usol/ops/bf16_products.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "tests/support/op_case.h"

#if defined(__x86_64__)
#include <immintrin.h>

// The twin of ops/bf16_products_avx512.cc: everything as there but VDPBF16PS and VCVTNE2PS2BF16. A product of two bf16
// is exact in f32.
#define USOL_TARGET __attribute__((target("avx512f,avx512bw,avx512vl")))
namespace usol {
namespace {
USOL_TARGET inline __m512 dot_pairs(__m512 sum, __m512bh a, __m512bh b) {
  const __m512i x = (__m512i)a, y = (__m512i)b, high = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  sum = _mm512_fmadd_ps((__m512)_mm512_and_si512(x, high), (__m512)_mm512_and_si512(y, high), sum);
  return _mm512_fmadd_ps((__m512)((__v16su)x << 16), (__m512)((__v16su)y << 16), sum);
}
USOL_TARGET inline __m256i rounded(__m512 x) {
  const __m512i bits = (__m512i)x, sign = _mm512_set1_epi32(static_cast<int>(0x80000000u));
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i y = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  y = _mm512_mask_or_epi32(y, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), bits, _mm512_set1_epi32(0x400000));
  const __mmask16 normal = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x7f800000));
  y = _mm512_mask_and_epi32(y, static_cast<__mmask16>(~normal), bits, sign);
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(y, 16));
}
USOL_TARGET inline __m512bh two_rounded(__m512 high, __m512 low) {
  return (__m512bh)_mm512_inserti64x4(_mm512_castsi256_si512(rounded(low)), rounded(high), 1);
}
}  // namespace
}  // namespace usol
#define _mm512_dpbf16_ps dot_pairs
#define _mm512_cvtne2ps_pbh two_rounded
#define avx512_bf16_products avx512_twin_products
#include "usol/ops/bf16_products_avx512.cc"
#undef avx512_bf16_products
#undef _mm512_dpbf16_ps
#undef _mm512_cvtne2ps_pbh

// The twin of ops/bf16_products_amx.cc: TDPBF16PS as Intel's manual has it, and tiles that notice what they were not
// configured for.
namespace usol {
namespace {
struct Tiles {
  bool configured = false;
  std::uint32_t words[8][16][16];
} tiles;

void expect_configured() { EXPECT_TRUE(tiles.configured); }
void configure(const void* config) {
  std::uint8_t bytes[64];
  std::memcpy(bytes, config, sizeof(bytes));
  EXPECT_EQ(bytes[0], 1) << "palette";
  for (int tile = 0; tile < 8; ++tile) {
    EXPECT_EQ(bytes[16 + 2 * tile] + 256 * bytes[17 + 2 * tile], 64) << "bytes of a row";
    EXPECT_EQ(bytes[48 + tile], 16) << "rows";
  }
  EXPECT_FALSE(tiles.configured);
  tiles = {.configured = true, .words = {}};
}
void release() {
  expect_configured();
  tiles.configured = false;
}
void load(int tile, const void* from, std::int64_t stride) {
  expect_configured();
  for (int row = 0; row < 16; ++row)
    std::memcpy(tiles.words[tile][row], static_cast<const char*>(from) + row * stride, 64);
}
void store(int tile, void* to, std::int64_t stride) {
  expect_configured();
  for (int row = 0; row < 16; ++row) std::memcpy(static_cast<char*>(to) + row * stride, tiles.words[tile][row], 64);
}
void zero(int tile) {
  expect_configured();
  std::memset(tiles.words[tile], 0, sizeof(tiles.words[tile]));
}

float flushed(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }
float low(std::uint32_t word) { return flushed(std::bit_cast<float>(word << 16)); }
float high(std::uint32_t word) { return flushed(std::bit_cast<float>(word & 0xffff0000u)); }
// sum (+)= a . b over `pairs` pairs, at most 16, b's words `stride` apart.
float add_tile(float sum, const std::uint32_t* a, const std::uint32_t* b, std::int64_t stride, std::int64_t pairs) {
  float even = 0, odd = 0;
  for (std::int64_t i = 0; i < pairs; ++i) {
    even = flushed(std::fma(low(a[i]), low(b[i * stride]), even));
    odd = flushed(std::fma(high(a[i]), high(b[i * stride]), odd));
  }
  return flushed(flushed(sum) + flushed(even + odd));
}
void dot(int sums, int a, int b) {
  expect_configured();
  for (int row = 0; row < 16; ++row)
    for (int column = 0; column < 16; ++column) {
      std::uint32_t& sum = tiles.words[sums][row][column];
      sum = std::bit_cast<std::uint32_t>(
          add_tile(std::bit_cast<float>(sum), tiles.words[a][row], &tiles.words[b][0][column], 16, 16));
    }
}
}  // namespace
}  // namespace usol
#undef USOL_TARGET
#define USOL_TARGET
#undef _tile_loadconfig
#undef _tile_release
#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps
#define _tile_loadconfig configure
#define _tile_release release
#define _tile_loadd load
#define _tile_stored store
#define _tile_zero zero
#define _tile_dpbf16ps dot
#define amx_bf16_products amx_twin_products_if_supported
#include "usol/ops/bf16_products_amx.cc"
#undef amx_bf16_products

namespace usol {
namespace {
const Bf16Products* amx_twin_products() {
#if defined(__linux__)
  static const Bf16Products products{
      kMostRows,     multiply_amx, emulated_bf16_products()->soften, emulated_bf16_products()->finish,
      begin_section, end_section};
  return &products;
#else
  return nullptr;
#endif
}

const Bf16Products* twin_products() {
  static constexpr Bf16Products products{Bf16Products::kRows, multiply, soften, finish};
  const bool supported =
      __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  return supported ? &products : nullptr;
}
}  // namespace
}  // namespace usol
#else
namespace usol {
namespace {
const Bf16Products* twin_products() { return nullptr; }
}  // namespace
}  // namespace usol
#endif

namespace usol::test {
namespace {

constexpr std::int64_t kColumns = Bf16Products::kColumns;

struct Case {
  int rows;
  std::int64_t pairs;
  bool accumulate;
  bool by_pairs = false;  // a lies pair by pair, the rows' pairs side by side
};
const Case kCases[] = {{1, 1, false},  {2, 3, true},  {3, 40, false},      {4, 5, true},
                       {5, 17, false}, {6, 33, true}, {6, 9, false, true}, {3, 20, true, true}};

// Rows of a at odd places, strides with gaps, guards around the sums.
struct Data {
  std::vector<bf16> a;
  std::vector<std::uint32_t> b;
  std::vector<float> sums;
  std::int64_t a_stride, a_step, b_stride, sums_stride = kColumns + 5;

  explicit Data(const Case& c)
      : a_stride(c.by_pairs ? 2 : 2 * c.pairs + 3), a_step(c.by_pairs ? 2 * c.rows + 5 : 2), b_stride(kColumns + 8) {
    const Tensor x = make_inputs({{{c.rows * a_stride + c.pairs * a_step + 1}}}, DType::kBF16, {})[0];
    const Tensor y = make_inputs({{{2 * c.pairs * b_stride}, -2, 2}}, DType::kBF16, {})[0];
    const Tensor start = make_inputs({{{c.rows * sums_stride}, -9, 9}}, DType::kF32, {})[0];
    a = x.to_vector<bf16>();
    sums = start.to_vector<float>();
    const auto halves = y.to_vector<bf16>();
    for (std::size_t i = 0; i + 1 < halves.size(); i += 2)
      b.push_back(halves[i].bits | static_cast<std::uint32_t>(halves[i + 1].bits) << 16);
  }
  std::vector<float> multiplied(const Bf16Products& products, const Case& c) const {
    std::vector<float> out = sums;
    products.multiply(
        {a.data() + 1, a_stride, b.data(), b_stride, out.data(), sums_stride, c.pairs, c.rows, c.accumulate, a_step});
    return out;
  }
};

std::vector<std::uint32_t> bits(const std::vector<float>& values) {
  std::vector<std::uint32_t> out;
  for (const float x : values) out.push_back(std::bit_cast<std::uint32_t>(x));
  return out;
}

// Within 1e-4, in f64; nothing but the sums is written.
void expect_sums(const Bf16Products& products) {
  for (const Case& c : kCases) {
    const Data data(c);
    const auto found = data.multiplied(products, c);
    for (std::int64_t r = 0; r < c.rows; ++r)
      for (std::int64_t j = 0; j < data.sums_stride; ++j) {
        const auto at = static_cast<std::size_t>(r * data.sums_stride + j);
        double sum = c.accumulate || j >= kColumns ? static_cast<double>(data.sums[at]) : 0;
        for (std::int64_t i = 0; j < kColumns && i < c.pairs; ++i) {
          const std::uint32_t word = data.b[static_cast<std::size_t>(i * data.b_stride + j)];
          const auto x = static_cast<std::size_t>(1 + r * data.a_stride + i * data.a_step);
          sum += static_cast<double>(data.a[x]) * static_cast<double>(std::bit_cast<float>(word << 16)) +
                 static_cast<double>(data.a[x + 1]) * static_cast<double>(std::bit_cast<float>(word & 0xffff0000u));
        }
        EXPECT_NEAR(found[at], sum, 1e-4) << c.rows << " rows, " << c.pairs << " pairs";
      }
  }
}

TEST(Bf16Products, TheEmulationIsTheSum) { expect_sums(*emulated_bf16_products()); }

TEST(Bf16Products, TheIntrinsicsFileGivesTheEmulationsBits) {
  const Bf16Products* twin = twin_products();
  if (!twin) GTEST_SKIP() << "this CPU has no AVX-512";
  for (const Case& c : kCases) {
    const Data data(c);
    EXPECT_EQ(bits(data.multiplied(*twin, c)), bits(data.multiplied(*emulated_bf16_products(), c))) << c.rows;
  }
}

TEST(Bf16Products, TheInstructionGivesTheEmulationsBits) {
  const Bf16Products* products = avx512_bf16_products();
  if (!products) GTEST_SKIP() << "this CPU has no AVX512-BF16";
  for (const Case& c : kCases) {
    Data data(c);
    EXPECT_EQ(bits(data.multiplied(*products, c)), bits(data.multiplied(*emulated_bf16_products(), c))) << c.rows;
    data.a[3].bits = 1;  // a subnormal, and the smallest products
    data.b[0] = 0x00800080;
    EXPECT_EQ(bits(data.multiplied(*products, c)), bits(data.multiplied(*emulated_bf16_products(), c))) << c.rows;
  }
}

// Scores of a panel and their weights, with gaps between rows and guards after them.
struct Softened {
  static constexpr std::int64_t kStride = kColumns + 4;
  std::vector<bf16> weights;
  std::vector<float> sums;

  Softened(const Bf16Products& products, const std::vector<float>& scores, const std::vector<float>& base, float factor)
      : weights(base.size() * kStride, bf16(7.0f)), sums(base.size() * Bf16Products::kSums, 0.5f) {
    products.soften(
        {scores.data(), weights.data(), kStride, factor, base.data(), sums.data(), static_cast<int>(base.size())});
  }
  /// Of key `key` of row `row`.
  float weight(std::int64_t row, std::int64_t key) const {
    for (std::int64_t i = 0; i < kColumns / 2; ++i)
      if (const std::int64_t j = key - bf16_first_of_pair(i); j == 0 || j == 1)
        return static_cast<float>(weights[static_cast<std::size_t>(row * kStride + 2 * i + j)]);
    return NAN;
  }
  std::vector<std::uint32_t> all_bits() const {
    std::vector<std::uint32_t> out = bits(sums);
    for (const bf16 w : weights) out.push_back(w.bits);
    return out;
  }
};

// Scores over the whole range of weights, and past it.
std::vector<float> scores_of(std::size_t rows, double least, double most) {
  return make_inputs({{{static_cast<std::int64_t>(rows) * Softened::kStride}, least, most}}, DType::kF32, {})[0]
      .to_vector<float>();
}

TEST(Bf16Products, PairsAreNeighboursAndEveryKeyHasOne) {
  std::vector<int> found(kColumns);
  for (std::int64_t i = 0; i < kColumns / 2; ++i)
    for (const std::int64_t key : {bf16_first_of_pair(i), bf16_first_of_pair(i) + 1})
      ++found.at(static_cast<std::size_t>(key));
  EXPECT_EQ(found, std::vector<int>(kColumns, 1));
}

TEST(Bf16Products, TheMantissasAreThoseOfPowersOfTwo) {
  for (std::size_t i = 0; i < 64; ++i) {
    double mean = 0;
    for (std::size_t j = 0; j < 4; ++j) {
      const auto steps = static_cast<double>(4 * i + j);
      mean += (256 * (std::exp2(steps / 256) - 1) - steps) / 4;
    }
    EXPECT_EQ(kBf16Mantissa[i], std::lround(mean + 0.5)) << i;
  }
}

TEST(Bf16Products, WeightsAreNearPowersOfTwo) {
  const float factor = 0.37f;
  const std::vector<float> base{-250.0f, 0.0f, 17.0f, 300.0f};
  const auto scores = scores_of(4, -300, 300);
  const Softened found(*emulated_bf16_products(), scores, base, factor);
  double worst = 0;
  for (std::int64_t r = 0; r < 4; ++r) {
    double sum = 0.5 * Bf16Products::kSums, sums = 0;
    for (std::int64_t j = 0; j < kColumns; ++j) {
      const double x = (static_cast<double>(scores[static_cast<std::size_t>(r * Softened::kStride + j)]) -
                        static_cast<double>(base[static_cast<std::size_t>(r)])) *
                       static_cast<double>(factor);
      const auto weight = static_cast<double>(found.weight(r, j));
      if (x < -126.5) {
        EXPECT_LT(weight, 0x1p-126) << x;
      }
      if (x > 128.1) {
        EXPECT_FALSE(std::isfinite(weight)) << x;
      }
      if (x > -125.5 && x < 127.9) worst = std::max(worst, std::abs(weight / std::exp2(x) - 1));
      sum += weight;
    }
    for (std::size_t i = 0; i < Bf16Products::kSums; ++i)
      sums += static_cast<double>(found.sums[static_cast<std::size_t>(r) * Bf16Products::kSums + i]);
    EXPECT_EQ(std::isfinite(sums), std::isfinite(sum));
    if (std::isfinite(sum)) {
      EXPECT_NEAR(sums, sum, 1e-5 * sum);
    }
  }
  EXPECT_LE(worst, Bf16Products::kWeightError);
  EXPECT_GE(worst, Bf16Products::kWeightError / 2);
}

TEST(Bf16Products, ScoresWithoutAWeightAreSeenInTheSum) {
  const float huge = std::numeric_limits<float>::max(), infinite = std::numeric_limits<float>::infinity();
  for (const float odd : {std::nanf(""), -std::nanf(""), infinite, -infinite, huge, -huge, 128.0f, 1e5f, -1e7f}) {
    std::vector<float> scores(kColumns, -3.0f);
    scores[5] = odd;
    const Softened found(*emulated_bf16_products(), scores, {0.0f}, 1.0f);
    EXPECT_FALSE(std::isfinite(found.weight(0, 5))) << odd;
    EXPECT_EQ(found.weight(0, 6), 0.125f);
  }
  const std::vector<float> scores(kColumns, 1e6f);  // the base is subtracted before anything is rounded
  EXPECT_EQ(Softened(*emulated_bf16_products(), scores, {1e6f}, 0.3f).weight(0, 9), 1.0f);
}

TEST(Bf16Products, TheIntrinsicsGiveTheEmulationsWeights) {
  const float infinite = std::numeric_limits<float>::infinity();
  for (const Bf16Products* products : {twin_products(), avx512_bf16_products()}) {
    if (!products) continue;
    for (const double most : {1.0, 60.0, 400.0, 1e9}) {
      auto scores = scores_of(6, -most, most);
      if (most > 60) scores[3] = infinite, scores[40] = -infinite, scores[100] = std::nanf("");
      for (const std::size_t rows : {1u, 4u, 6u}) {
        std::vector<float> base{-1, 0, 1, 2, -infinite, 9};
        base.resize(rows);
        EXPECT_EQ(Softened(*products, scores, base, 0.3f).all_bits(),
                  Softened(*emulated_bf16_products(), scores, base, 0.3f).all_bits())
            << most << ", " << rows << " rows";
      }
    }
  }
}

// Sums of a tile and a place for its result, with gaps between rows and guards after them.
std::vector<std::uint16_t> finished(const Bf16Products& products, const std::vector<float>& sums, int rows, int columns,
                                    Activation activation, bool accumulate) {
  const std::int64_t stride = kColumns + 9;
  std::vector<bf16> out;
  for (std::int64_t i = 0; i < 6 * stride; ++i) out.emplace_back(static_cast<float>(i % 50) / 8 - 3);
  const auto bias = make_inputs({{{kColumns}}}, DType::kF32, {})[0].to_vector<float>();
  products.finish({sums.data(), bias.data(), out.data() + 1, stride, rows, columns, activation, accumulate});
  std::vector<std::uint16_t> found;
  for (const bf16 x : out) found.push_back(x.bits);
  return found;
}

TEST(Bf16Products, TheIntrinsicsGiveTheEmulationsResults) {
  auto sums = make_inputs({{{6 * kColumns}, -6, 6}}, DType::kF32, {})[0].to_vector<float>();
  sums[3] = std::nanf("");
  sums[70] = std::numeric_limits<float>::infinity();
  sums[71] = -sums[70];
  sums[72] = std::numeric_limits<float>::max();
  sums[73] = 1e-39f;
  for (const Bf16Products* products : {twin_products(), avx512_bf16_products()}) {
    if (!products) continue;
    for (const int columns : {1, 31, 32, 40, 64})
      for (const Activation activation : {Activation::kNone, Activation::kRelu, Activation::kGelu})
        for (const bool accumulate : {false, true})
          for (const int rows : {1, 5, 6})
            EXPECT_EQ(finished(*products, sums, rows, columns, activation, accumulate),
                      finished(*emulated_bf16_products(), sums, rows, columns, activation, accumulate))
                << rows << " x " << columns << (accumulate ? ", added" : "");
  }
}

// The bound of each value by itself, before it is rounded; what is not finite, and what is far from 0.
TEST(Bf16Products, GeluIsWithinItsBound) {
  const std::vector<float> none(kColumns, 0.0f);
  const auto gelu = [&](float x) {
    const std::vector<float> sums(kColumns, x);
    bf16 out;
    emulated_bf16_products()->finish({sums.data(), none.data(), &out, 1, 1, 1, Activation::kGelu, false});
    return static_cast<double>(out);
  };
  for (int i = -12000; i <= 12000; ++i) {
    const float x = static_cast<float>(i) / 2000;
    const double exact = static_cast<double>(x) / 2 * std::erfc(-static_cast<double>(x) / std::sqrt(2.0));
    const double unrounded = Bf16Products::kGeluError * std::abs(static_cast<double>(x));
    EXPECT_NEAR(gelu(x), exact, unrounded + 0x1p-8 * (std::abs(exact) + unrounded)) << x;
  }
  const float infinite = std::numeric_limits<float>::infinity();
  EXPECT_EQ(gelu(0), 0);
  EXPECT_NEAR(gelu(-50), 0, 1e-9);
  EXPECT_EQ(gelu(48), 48);
  EXPECT_EQ(gelu(infinite), static_cast<double>(infinite));
  EXPECT_NEAR(gelu(-infinite), 0, 1e-9);
  EXPECT_TRUE(std::isnan(gelu(std::nanf(""))));
}

#if defined(__x86_64__)
const Case kTileCases[] = {{1, 1, false},  {16, 16, false}, {16, 32, true},  {17, 16, true},
                           {31, 5, false}, {32, 17, true},  {32, 48, false}, {32, 16, true, true}};

// What TDPBF16PS makes of the sums, without tiles.
std::vector<float> by_sixteen_pairs(const Data& data, const Case& c) {
  std::vector<float> out = data.sums;
  for (std::int64_t r = 0; r < c.rows; ++r)
    for (std::int64_t column = 0; column < kColumns; ++column) {
      float sum = c.accumulate ? out[static_cast<std::size_t>(r * data.sums_stride + column)] : 0;
      for (std::int64_t i = 0; i < c.pairs; i += 16) {
        std::uint32_t a[16];
        const std::int64_t pairs = std::min<std::int64_t>(16, c.pairs - i);
        for (std::int64_t j = 0; j < pairs; ++j)
          std::memcpy(&a[j], data.a.data() + 1 + r * data.a_stride + (i + j) * data.a_step, sizeof(a[0]));
        sum = add_tile(sum, a, data.b.data() + i * data.b_stride + column, data.b_stride, pairs);
      }
      out[static_cast<std::size_t>(r * data.sums_stride + column)] = sum;
    }
  return out;
}

void expect_sums_of_tiles(const Bf16Products& products) {
  for (const Case& c : kTileCases) {
    Data data(c);
    EXPECT_EQ(bits(data.multiplied(products, c)), bits(by_sixteen_pairs(data, c))) << c.rows << ' ' << c.pairs;
    data.a[3].bits = 1;  // a subnormal, and the smallest products
    data.b[0] = 0x00800080;
    const Bf16Section section(products);
    EXPECT_EQ(bits(data.multiplied(products, c)), bits(by_sixteen_pairs(data, c))) << c.rows << ' ' << c.pairs;
  }
}

TEST(Bf16Products, TilesGiveTheSumsOfTheirInstruction) {
  const Bf16Products* twin = amx_twin_products();
  if (!twin) GTEST_SKIP() << "not on Linux";
  expect_sums(*twin);
  expect_sums_of_tiles(*twin);
  EXPECT_FALSE(tiles.configured);
}

TEST(Bf16Products, TheCpusTilesGiveTheSumsOfTheirInstruction) {
  const Bf16Products* products = amx_bf16_products();
  if (!products) GTEST_SKIP() << "this CPU has no AMX";
  expect_sums_of_tiles(*products);
}
#endif

TEST(Bf16Products, PacksRowsAsColumns) {
  for (const std::int64_t width : {1, 2, 7, 40, 65})
    for (const std::int64_t rows : {1, 63, 64, 70}) {
      const auto from = make_inputs({{{rows, width + 2}}}, DType::kBF16, {})[0].to_vector<bf16>();
      std::vector<std::uint32_t> to(static_cast<std::size_t>((width + 1) / 2 * kColumns), 0xdeadbeef);
      pack_bf16_rows(from.data(), width + 2, rows, width, to.data());
      for (std::int64_t i = 0; i < (width + 1) / 2; ++i)
        for (std::int64_t c = 0; c < kColumns; ++c) {
          const auto element = [&](std::int64_t d) -> std::uint32_t {
            return c < rows && d < width ? from[static_cast<std::size_t>(c * (width + 2) + d)].bits : 0;
          };
          ASSERT_EQ(to[static_cast<std::size_t>(i * kColumns + c)], element(2 * i) | element(2 * i + 1) << 16)
              << width << " wide, " << rows << " rows, pair " << i << " of row " << c;
        }
    }
}

}  // namespace
}  // namespace usol::test
