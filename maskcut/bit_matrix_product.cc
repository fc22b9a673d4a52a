// y = B x for a bit matrix by tables of partial sums (Arlazarov et al. 1970, the "four Russians"): the sums of all
// subsets of a few neighbouring x are made once per product, then each group of bits of a row is one lookup and one
// addition. With AVX-512 a table of 16 sums (4 bits) lies in two registers and one permutation looks up eight rows;
// elsewhere 8 bits are looked up in memory. It must equal the plain double loop up to rounding.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "usol/maskcut/bit_matrix_product.cc"
#include <hwy/foreach_target.h>
// foreach_target comes first.
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "usol/maskcut/bit_matrix.h"
#include "usol/tensor/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace usol::HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL

// Columns a table covers, and its entries.
constexpr std::int64_t kTableBits = 4, kTableSize = 16;

// tables[word][nibble][16] for one vector. x is padded with zeros to words * 64.
HWY_ATTR void make_tables(const double* x, std::int64_t words, double* tables) {
  for (std::int64_t i = 0; i < words * 16; ++i) {
    const double* v = x + 4 * i;
    // Entry e is the sum of the v[b] whose bit b is set in e.
    __m512d low = _mm512_maskz_mov_pd(0xAA, _mm512_set1_pd(v[0]));
    low = _mm512_mask_add_pd(low, 0xCC, low, _mm512_set1_pd(v[1]));
    low = _mm512_mask_add_pd(low, 0xF0, low, _mm512_set1_pd(v[2]));
    _mm512_storeu_pd(tables + 16 * i, low);
    _mm512_storeu_pd(tables + 16 * i + 8, _mm512_add_pd(low, _mm512_set1_pd(v[3])));
  }
}

// kBlocks blocks of eight rows at once: a table is loaded once for all of them.
template <int kBlocks>
HWY_ATTR HWY_INLINE void rows_product(const std::uint64_t* bits, std::int64_t words, const double* tables, double* y) {
  __m512d sums[kBlocks];
  for (int b = 0; b < kBlocks; ++b) sums[b] = _mm512_setzero_pd();
  for (std::int64_t w = 0; w < words; ++w) {
    __m512i rows[kBlocks];
    for (int b = 0; b < kBlocks; ++b) rows[b] = _mm512_loadu_si512(bits + (b * words + w) * 8);
    for (int nibble = 0; nibble < 16; ++nibble, tables += 16) {
      const __m512d low = _mm512_loadu_pd(tables), high = _mm512_loadu_pd(tables + 8);
      for (int b = 0; b < kBlocks; ++b) {
        // The permutation reads the four lowest bits of each lane and ignores the others.
        sums[b] = _mm512_add_pd(sums[b], _mm512_permutex2var_pd(low, rows[b], high));
        rows[b] = _mm512_srli_epi64(rows[b], 4);
      }
    }
  }
  for (int b = 0; b < kBlocks; ++b) _mm512_storeu_pd(y + 8 * b, sums[b]);
}

// y[8 * first .. 8 * last): row blocks [first, last).
HWY_ATTR void blocks_product(const std::uint64_t* bits, std::int64_t words, const double* tables, std::int64_t first,
                             std::int64_t last, double* y) {
  std::int64_t block = first;
  for (; block + 8 <= last; block += 8) rows_product<8>(bits + block * words * 8, words, tables, y + block * 8);
  for (; block < last; ++block) rows_product<1>(bits + block * words * 8, words, tables, y + block * 8);
}

#else

constexpr std::int64_t kTableBits = 8, kTableSize = 256;

// tables[word][byte][256] for one vector. x is padded with zeros to words * 64.
HWY_ATTR void make_tables(const double* x, std::int64_t words, double* tables) {
  for (std::int64_t i = 0; i < words * 8; ++i) {
    double* table = tables + 256 * i;
    table[0] = 0;
    for (int bit = 0; bit < 8; ++bit)
      for (int e = 0; e < 1 << bit; ++e) table[(1 << bit) + e] = table[e] + x[8 * i + bit];
  }
}

HWY_ATTR void blocks_product(const std::uint64_t* bits, std::int64_t words, const double* tables, std::int64_t first,
                             std::int64_t last, double* y) {
  std::fill(y + first * 8, y + last * 8, 0.0);
  // Word by word, so that its eight tables (16 KB) stay in the first-level cache.
  for (std::int64_t w = 0; w < words; ++w, tables += 8 * 256) {
    for (std::int64_t block = first; block < last; ++block) {
      const std::uint64_t* word = bits + (block * words + w) * 8;
      for (int row = 0; row < 8; ++row) {
        const std::uint64_t v = word[row];
        const double s0 = tables[v & 255] + tables[256 + (v >> 8 & 255)];
        const double s1 = tables[512 + (v >> 16 & 255)] + tables[768 + (v >> 24 & 255)];
        const double s2 = tables[1024 + (v >> 32 & 255)] + tables[1280 + (v >> 40 & 255)];
        const double s3 = tables[1536 + (v >> 48 & 255)] + tables[1792 + (v >> 56)];
        y[block * 8 + row] += (s0 + s1) + (s2 + s3);
      }
    }
  }
}

#endif

std::int64_t table_elements(std::int64_t words) { return words * (64 / kTableBits) * kTableSize; }

}  // namespace usol::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace usol::maskcut {

HWY_EXPORT(table_elements);
HWY_EXPORT(make_tables);
HWY_EXPORT(blocks_product);

void BitMatrix::multiply(const double* x, double* y, std::int64_t vectors, std::int64_t stride) const {
  if (size_ == 0) return;
  const std::int64_t blocks = (size_ + 7) / 8;
  const std::int64_t table_size = HWY_DYNAMIC_DISPATCH(table_elements)(words_);
  parallel_for(0, blocks, 32, [&](std::int64_t first, std::int64_t last) {
    // Every thread makes its own tables: cheaper than waiting for one another.
    std::vector<double> tables(static_cast<std::size_t>(table_size));
    std::vector<double> padded(static_cast<std::size_t>(words_ * 64), 0.0), sums(padded.size());
    for (std::int64_t v = 0; v < vectors; ++v) {
      std::copy_n(x + v * stride, size_, padded.begin());
      HWY_DYNAMIC_DISPATCH(make_tables)(padded.data(), words_, tables.data());
      HWY_DYNAMIC_DISPATCH(blocks_product)(bits_.data(), words_, tables.data(), first, last, sums.data());
      std::copy(sums.begin() + first * 8, sums.begin() + std::min(last * 8, size_), y + v * stride + first * 8);
    }
  });
}

}  // namespace usol::maskcut
#endif  // HWY_ONCE
