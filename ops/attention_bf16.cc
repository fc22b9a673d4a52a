// Fused attention for bf16, with the same blocks as attention_cpu.cc: per task a block of query rows walks the keys in
// chunks; scores, online softmax, and weights times values. The two products are Bf16Products; the softmax between them
// is f32 with Highway.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "usol/ops/attention_bf16.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which compiles this file once per instruction set.
#include <hwy/highway.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "usol/ops/attention_bf16.h"
#include "usol/ops/exp-inl.h"
#include "usol/tensor/parallel.h"
#include "usol/tensor/tensor.h"

HWY_BEFORE_NAMESPACE();
namespace usol {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// weights[j] = exp((scores[j] - maximum) * scale) as bf16 (to nearest even); returns their f32 sum, before rounding.
// `columns` is a multiple of 16.
float soften(const float* HWY_RESTRICT scores, std::int64_t columns, float maximum, float scale,
             std::uint16_t* HWY_RESTRICT weights) {
  const hn::CappedTag<float, 16> f;
  const hn::RebindToUnsigned<decltype(f)> u;
  const hn::Rebind<std::uint16_t, decltype(u)> half;
  const auto n = static_cast<std::int64_t>(hn::Lanes(f));
  const auto shift = hn::Set(f, maximum), factor = hn::Set(f, scale);
  auto sum = hn::Zero(f);
  for (std::int64_t j = 0; j < columns; j += n) {
    const auto e = exp_f32(f, hn::Mul(hn::Sub(hn::LoadU(f, scores + j), shift), factor));
    sum = hn::Add(sum, e);
    const auto bits = hn::BitCast(u, e);
    const auto last = hn::And(hn::ShiftRight<16>(bits), hn::Set(u, 1));
    const auto rounded = hn::Add(bits, hn::Add(last, hn::Set(u, 0x7fff)));
    hn::StoreU(hn::TruncateTo(half, hn::ShiftRight<16>(rounded)), half, weights + j);
  }
  return hn::GetLane(hn::SumOfLanes(f, sum));
}

}  // namespace HWY_NAMESPACE
}  // namespace usol
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace usol {

HWY_EXPORT(soften);

namespace {

constexpr std::int64_t kKeys = Bf16Products::kKeys, kColumns = Bf16Products::kColumns;
constexpr std::int64_t kBlockRows = 96;  // query rows of a task: a multiple of the tile rows
constexpr std::int64_t kChunk = 256;     // keys at a time: a multiple of kKeys
static_assert(kBlockRows % Bf16Products::kScoreRows == 0 && kBlockRows % Bf16Products::kOutRows == 0);
static_assert(kChunk % kKeys == 0);

std::int64_t tiles(std::int64_t count, std::int64_t tile) { return (count + tile - 1) / tile; }

std::uint32_t pair(bf16 even, bf16 odd) { return even.bits | static_cast<std::uint32_t>(odd.bits) << 16; }

struct Sizes {
  std::int64_t queries, keys, width;
  float scale;
  std::int64_t panels() const { return tiles(keys, kKeys); }
  std::int64_t pairs() const { return tiles(width, 2); }                      // of a row of q or k
  std::int64_t columns() const { return tiles(width, kColumns) * kColumns; }  // of a row of values, padded
  std::int64_t panel_words() const { return pairs() * kKeys; }                // keys of one panel
  std::int64_t value_words() const { return kKeys / 2 * columns(); }          // values of one panel
};

// Keys [panel * kKeys, + kKeys) as pairs of neighbouring elements, keys side by side; their values as pairs of
// neighbouring keys. Zero past the end.
void pack(const Bf16AttentionHead& head, std::int64_t panel, const Sizes& s, std::uint32_t* keys,
          std::uint32_t* values) {
  const std::int64_t first = panel * kKeys;
  const auto element = [&](const bf16* rows, std::int64_t stride, std::int64_t key, std::int64_t d) {
    return key < s.keys && d < s.width ? rows[key * stride + d] : bf16(0.0f);
  };
  for (std::int64_t i = 0; i < s.pairs(); ++i)
    for (std::int64_t j = 0; j < kKeys; ++j)
      keys[i * kKeys + j] =
          pair(element(head.k, head.k_stride, first + j, 2 * i), element(head.k, head.k_stride, first + j, 2 * i + 1));
  for (std::int64_t i = 0; i < kKeys / 2; ++i)
    for (std::int64_t c = 0; c < s.columns(); ++c)
      values[i * s.columns() + c] =
          pair(element(head.v, head.v_stride, first + 2 * i, c), element(head.v, head.v_stride, first + 2 * i + 1, c));
}

struct Workspace {
  std::vector<std::uint32_t> q;        // [kBlockRows, pairs]
  std::vector<float> scores;           // [kBlockRows, kChunk]
  std::vector<std::uint16_t> weights;  // [kBlockRows, kChunk]
  std::vector<float> out;              // [kBlockRows, columns]
};

void attend_block(const Bf16Products& products, const Bf16AttentionHead& head, const std::uint32_t* keys,
                  const std::uint32_t* values, std::int64_t first_row, const Sizes& s) {
  const std::int64_t rows = std::min(kBlockRows, s.queries - first_row), pairs = s.pairs(), columns = s.columns();
  const std::int64_t score_rows = tiles(rows, Bf16Products::kScoreRows) * Bf16Products::kScoreRows;
  const std::int64_t out_rows = tiles(rows, Bf16Products::kOutRows) * Bf16Products::kOutRows;
  thread_local Workspace work;
  work.q.assign(static_cast<std::size_t>(kBlockRows * pairs), 0);
  work.scores.resize(static_cast<std::size_t>(kBlockRows * kChunk));
  work.weights.assign(static_cast<std::size_t>(kBlockRows * kChunk), 0);
  work.out.assign(static_cast<std::size_t>(kBlockRows * columns), 0.0f);
  for (std::int64_t r = 0; r < rows; ++r)
    std::memcpy(work.q.data() + r * pairs, head.q + (first_row + r) * head.q_stride,
                static_cast<std::size_t>(s.width) * sizeof(bf16));
  float maximum[kBlockRows], sum[kBlockRows];
  std::fill_n(maximum, kBlockRows, -INFINITY);
  std::fill_n(sum, kBlockRows, 0.0f);
  const auto dispatched_soften = HWY_DYNAMIC_DISPATCH(soften);

  for (std::int64_t first_key = 0; first_key < s.keys; first_key += kChunk) {
    const std::int64_t count = std::min(kChunk, s.keys - first_key), panels = tiles(count, kKeys);
    const std::int64_t first_panel = first_key / kKeys, padded = panels * kKeys;
    for (std::int64_t p = 0; p < panels; ++p)
      for (std::int64_t r = 0; r < score_rows; r += Bf16Products::kScoreRows)
        products.scores(work.q.data() + r * pairs, pairs, keys + (first_panel + p) * s.panel_words(),
                        work.scores.data() + r * kChunk + p * kKeys, kChunk);
    for (std::int64_t r = 0; r < rows; ++r) {
      float* scores = work.scores.data() + r * kChunk;
      const float top = std::max(maximum[r], *std::max_element(scores, scores + count));
      std::fill(scores + count, scores + padded, -INFINITY);
      const float shrink = std::exp((maximum[r] - top) * s.scale);  // 0 for the first chunk: exp(-inf)
      sum[r] = sum[r] * shrink + dispatched_soften(scores, padded, top, s.scale, work.weights.data() + r * kChunk);
      maximum[r] = top;
      if (shrink == 1.0f) continue;
      for (std::int64_t c = 0; c < columns; ++c) work.out[static_cast<std::size_t>(r * columns + c)] *= shrink;
    }
    for (std::int64_t c = 0; c < columns; c += kColumns)
      for (std::int64_t r = 0; r < out_rows; r += Bf16Products::kOutRows)
        // Two weights of a row, side by side, are one pair.
        products.values(reinterpret_cast<const std::uint32_t*>(work.weights.data() + r * kChunk), kChunk / 2,
                        padded / 2, values + first_panel * s.value_words() + c, columns,
                        work.out.data() + r * columns + c, columns);
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    const float inverse = 1.0f / sum[r];
    bf16* to = head.out + (first_row + r) * head.out_stride;
    for (std::int64_t d = 0; d < s.width; ++d)
      to[d] = bf16(work.out[static_cast<std::size_t>(r * columns + d)] * inverse);
    if (head.log_sum) head.log_sum[first_row + r] = maximum[r] * s.scale + std::log(sum[r]);
  }
}

// ---- the products by plain arithmetic ----

float flushed(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }

// A product of two bf16 has 16 bits: exact in f32, so that multiplying and adding is the fused operation.
float add_pair(float sum, std::uint32_t a, std::uint32_t b) {
  const auto high = [](std::uint32_t word) { return flushed(std::bit_cast<float>(word & 0xffff0000u)); };
  const auto low = [](std::uint32_t word) { return flushed(std::bit_cast<float>(word << 16)); };
  sum = flushed(std::fma(high(a), high(b), flushed(sum)));
  return flushed(std::fma(low(a), low(b), sum));
}

void emulated_scores(const std::uint32_t* q, std::int64_t pairs, const std::uint32_t* panel, float* scores,
                     std::int64_t score_stride) {
  for (std::int64_t r = 0; r < Bf16Products::kScoreRows; ++r)
    for (std::int64_t j = 0; j < kKeys; ++j) {
      float sum = 0;
      for (std::int64_t i = 0; i < pairs; ++i) sum = add_pair(sum, q[r * pairs + i], panel[i * kKeys + j]);
      scores[r * score_stride + j] = sum;
    }
}

void emulated_values(const std::uint32_t* p, std::int64_t p_stride, std::int64_t pairs, const std::uint32_t* v,
                     std::int64_t v_stride, float* out, std::int64_t out_stride) {
  for (std::int64_t r = 0; r < Bf16Products::kOutRows; ++r)
    for (std::int64_t c = 0; c < kColumns; ++c) {
      float& sum = out[r * out_stride + c];
      for (std::int64_t i = 0; i < pairs; ++i) sum = add_pair(sum, p[r * p_stride + i], v[i * v_stride + c]);
    }
}

std::atomic<const Bf16Products*>& chosen_products() {
  static std::atomic<const Bf16Products*> chosen{avx512_bf16_products()};
  return chosen;
}

}  // namespace

const Bf16Products* emulated_bf16_products() {
  static constexpr Bf16Products products{emulated_scores, emulated_values};
  return &products;
}
const Bf16Products* bf16_products() { return chosen_products(); }
void set_bf16_products(const Bf16Products* products) { chosen_products() = products; }

void attention_bf16(const Bf16Products& products, const Bf16AttentionHead* heads, std::int64_t head_count,
                    std::int64_t queries, std::int64_t keys, std::int64_t width, float scale) {
  const Sizes s{queries, keys, width, scale};
  const std::int64_t panels = s.panels(), blocks = tiles(queries, kBlockRows);
  // A few heads at a time, so that the packed keys and values stay small beside the model.
  constexpr std::int64_t kHeadsAtOnce = 4;
  const std::int64_t key_words = panels * s.panel_words(), words = key_words + panels * s.value_words();
  Tensor packed = Tensor::empty({std::min(kHeadsAtOnce, head_count), words}, DType::kI32);
  const auto keys_of = [base = reinterpret_cast<std::uint32_t*>(packed.mutable_data<std::int32_t>()),
                        words](std::int64_t h) { return base + h * words; };
  for (std::int64_t h0 = 0; h0 < head_count; h0 += kHeadsAtOnce) {
    const std::int64_t count = std::min(kHeadsAtOnce, head_count - h0);
    parallel_for(0, count * panels, 8, [&](std::int64_t first, std::int64_t end) {
      for (std::int64_t i = first; i < end; ++i) {
        std::uint32_t* to = keys_of(i / panels);
        pack(heads[h0 + i / panels], i % panels, s, to + i % panels * s.panel_words(),
             to + key_words + i % panels * s.value_words());
      }
    });
    parallel_for_each(0, count * blocks, [&](std::int64_t i) {
      const std::uint32_t* from = keys_of(i / blocks);
      attend_block(products, heads[h0 + i / blocks], from, from + key_words, i % blocks * kBlockRows, s);
    });
  }
}

}  // namespace usol
#endif
