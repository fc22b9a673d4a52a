// Fused attention for bf16. Per task a block of query rows, a tile of them at a time, walks the keys in chunks: scores,
// weights 2^(score - base), and weights times values, all by Bf16Products.
//
// The base of a row is its largest score of the first panel of keys. A larger one later only makes weights larger than
// 1, which bf16 holds as well; not until their sum reaches 2^64 is the base moved. So no maximum has to be known before
// the weights are made.
//
// Keys are packed once per head as panels of kColumns, and their values as pairs of keys in the order of the weights.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "usol/ops/attention_bf16.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which compiles this file once per instruction set.
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "usol/ops/attention_bf16.h"
#include "usol/ops/bf16_pairs.h"
#include "usol/tensor/bf16-inl.h"
#include "usol/tensor/parallel.h"
#include "usol/tensor/tensor.h"

// What does not depend on the instruction set: once, before the first.
#ifndef USOL_OPS_ATTENTION_BF16_CC_
#define USOL_OPS_ATTENTION_BF16_CC_
namespace usol {
namespace {

constexpr std::int64_t kColumns = Bf16Products::kColumns, kMostRows = Bf16Products::kMostRows;
constexpr std::int64_t kBlockRows = 96;  // query rows of a task: of tiles of 6 rows, and of 32
constexpr std::int64_t kChunk = 512;     // keys at a time: a multiple of kColumns
constexpr std::int64_t kSums = Bf16Products::kSums;
static_assert(kChunk % kColumns == 0);

constexpr std::int64_t tiled(std::int64_t count, std::int64_t tile) { return (count + tile - 1) / tile * tile; }

struct Sizes {
  std::int64_t queries, keys, width;
  float scale;
  std::int64_t pairs() const { return (width + 1) / 2; }  // of a row of q or k
  std::int64_t panels() const { return tiled(keys, kColumns) / kColumns; }
  std::int64_t columns() const { return tiled(width, kColumns); }        // of a row of values, padded
  std::int64_t panel_words() const { return pairs() * kColumns; }        // keys of one panel
  std::int64_t value_words() const { return kColumns / 2 * columns(); }  // values of one panel
};

// What a tile of rows has come to.
struct Rows {
  float base[kMostRows];                       // what is subtracted from a row's scores
  alignas(64) float sums[kMostRows][kSums];    // of the weights
  alignas(64) float before[kMostRows][kSums];  // the same, before this chunk
};

struct Workspace {            // of a block
  std::vector<bf16> q;        // [kBlockRows, 2 pairs]
  std::vector<float> out;     // [kBlockRows, columns]
  std::vector<Rows> rows;     // of each tile
  std::vector<float> scores;  // of one tile: [its rows, kChunk]
  std::vector<bf16> weights;  // likewise, in the order of pairs
};

}  // namespace
}  // namespace usol
#endif

HWY_BEFORE_NAMESPACE();
namespace usol {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

namespace {

using F = hn::CappedTag<float, kSums>;

constexpr float kNoWeight = -1000;  // of it 2^x is 0

// A score without weight. Where the base is so large that it would be the base itself, one farther below.
float below(float base, float factor) { return base - std::max(-kNoWeight / factor, std::abs(base) * 0x1p-20f); }

float largest(const float* scores, std::int64_t count) {
  const F f;
  const auto n = static_cast<std::int64_t>(hn::Lanes(f));
  if (count < n) return *std::max_element(scores, scores + count);
  auto most = hn::LoadU(f, scores);
  for (std::int64_t j = n; j + n <= count; j += n) most = hn::Max(most, hn::LoadU(f, scores + j));
  most = hn::Max(most, hn::LoadU(f, scores + count - n));
  return hn::GetLane(hn::MaxOfLanes(f, most));
}

float sum_of(const float* sums) {
  const F f;
  auto sum = hn::LoadU(f, sums);
  for (std::int64_t lane = static_cast<std::int64_t>(hn::Lanes(f)); lane < kSums;
       lane += static_cast<std::int64_t>(hn::Lanes(f)))
    sum = hn::Add(sum, hn::LoadU(f, sums + lane));
  return hn::GetLane(hn::SumOfLanes(f, sum));
}

// Whether the sums of a tile may still grow, and weights of that size be multiplied with values.
bool small_enough(const Rows& state, std::int64_t rows) {
  const F f;
  constexpr float kMostWeight = 0x1p60f;
  auto small = hn::Eq(hn::Zero(f), hn::Zero(f));
  for (std::int64_t i = 0; i < rows * kSums; i += static_cast<std::int64_t>(hn::Lanes(f)))
    small = hn::And(small, hn::Le(hn::LoadU(f, state.sums[0] + i), hn::Set(f, kMostWeight)));
  return hn::AllTrue(f, small);
}

void scale(float* values, std::int64_t count, float by) {
  const F f;
  const auto n = static_cast<std::int64_t>(hn::Lanes(f));
  for (std::int64_t i = 0; i < count; i += n)
    hn::StoreU(hn::Mul(hn::LoadU(f, values + i), hn::Set(f, by)), f, values + i);
}

// For a row whose weights of this chunk have become too large, or could not be made: makes them anew, relative to the
// largest score, and shrinks what was there before. Scores so low that soften() has no weight for them get one of 0.
void rebase(const Bf16Products& products, float* scores, std::int64_t count, std::int64_t padded, float factor,
            float& base, float* sums, const float* before, bf16* weights, float* out, std::int64_t columns) {
  const float top = std::max(base, largest(scores, count)), shrink = std::exp2((base - top) * factor);
  base = top;
  for (std::int64_t j = 0; j < padded; ++j) scores[j] = std::max(scores[j] - top, kNoWeight / factor);  // a NaN stays
  std::copy_n(before, kSums, sums);
  scale(sums, kSums, shrink);
  constexpr float kZero = 0;
  for (std::int64_t c = 0; c < padded; c += kColumns)
    products.soften({scores + c, weights + c, kChunk, factor, &kZero, sums, 1});
  if (out) scale(out, columns, shrink);
}

// A tile of rows and a chunk of keys.
struct TileOfChunk {
  const bf16* q;
  const std::uint32_t *keys, *values;  // their first panel
  std::int64_t count;                  // of keys
  bool first;                          // chunk
  int rows;
  float factor;
};

void attend_tile(const Bf16Products& products, const TileOfChunk& t, const Sizes& s, Workspace& work, Rows& state,
                 float* out) {
  const std::int64_t padded = tiled(t.count, kColumns), width = 2 * s.pairs(), columns = s.columns();
  float* scores = work.scores.data();
  bf16* weights = work.weights.data();
  std::copy_n(state.sums[0], t.rows * kSums, state.before[0]);
  const auto soften_panel = [&](std::int64_t c) {
    products.soften({scores + c, weights + c, kChunk, t.factor, state.base, state.sums[0], t.rows});
  };
  // The weights of a panel are made after the scores of the next one, so that the processor can do both at once.
  for (std::int64_t c = 0; c < padded; c += kColumns) {
    products.multiply({t.q, width, t.keys + c * s.pairs(), kColumns, scores + c, kChunk, s.pairs(), t.rows, false});
    if (t.first && c == 0)
      for (int r = 0; r < t.rows; ++r) state.base[r] = largest(scores + r * kChunk, std::min(t.count, kColumns));
    if (c + kColumns > t.count)  // no keys: no weight
      for (int r = 0; r < t.rows; ++r)
        std::fill(scores + r * kChunk + t.count, scores + r * kChunk + padded, below(state.base[r], t.factor));
    if (c > 0) soften_panel(c - kColumns);
  }
  soften_panel(padded - kColumns);
  if (!small_enough(state, t.rows))
    for (int r = 0; r < t.rows; ++r)
      rebase(products, scores + r * kChunk, t.count, padded, t.factor, state.base[r], state.sums[r], state.before[r],
             weights + r * kChunk, t.first ? nullptr : out + r * columns, columns);
  for (std::int64_t c = 0; c < columns; c += kColumns)
    products.multiply({weights, kChunk, t.values + c, columns, out + c, columns, padded / 2, t.rows, !t.first});
}

}  // namespace

void attend_block(const Bf16Products& products, const Bf16AttentionHead& head, const std::uint32_t* keys,
                  const std::uint32_t* values, std::int64_t first_row, const Sizes& s) {
  const F f;
  const auto n = static_cast<std::int64_t>(hn::Lanes(f));
  const std::int64_t rows = std::min(kBlockRows, s.queries - first_row), width = 2 * s.pairs(), columns = s.columns();
  const std::int64_t tile_rows = products.rows;
  const Bf16Section section(products);
  thread_local Workspace work;
  work.q.resize(static_cast<std::size_t>(kBlockRows * width));
  work.out.resize(static_cast<std::size_t>(kBlockRows * columns));
  work.rows.assign(static_cast<std::size_t>(tiled(rows, tile_rows) / tile_rows), {});
  work.scores.resize(static_cast<std::size_t>(tile_rows * kChunk));
  work.weights.resize(static_cast<std::size_t>(tile_rows * kChunk));
  const float factor = s.scale * 1.44269504088896341f;

  for (std::int64_t r = 0; r < rows; ++r) {
    bf16* q = work.q.data() + r * width;
    std::memcpy(q, head.q + (first_row + r) * head.q_stride, static_cast<std::size_t>(s.width) * sizeof(bf16));
    if (s.width < width) q[s.width] = bf16(0.0f);
  }
  // All of the block's tiles pass a chunk of keys and values, which stays in the L2 cache, before the next one.
  for (std::int64_t first_key = 0; first_key < s.keys; first_key += kChunk)
    for (std::int64_t r = 0; r < rows; r += tile_rows) {
      const std::int64_t panel = first_key / kColumns;
      attend_tile(products,
                  {work.q.data() + r * width, keys + panel * s.panel_words(), values + panel * s.value_words(),
                   std::min(kChunk, s.keys - first_key), first_key == 0,
                   static_cast<int>(std::min(tile_rows, rows - r)), factor},
                  s, work, work.rows[static_cast<std::size_t>(r / tile_rows)], work.out.data() + r * columns);
    }
  for (std::int64_t r = 0; r < rows; ++r) {
    const Rows& state = work.rows[static_cast<std::size_t>(r / tile_rows)];
    const float sum = sum_of(state.sums[r % tile_rows]), inverse = 1.0f / sum;
    const float* out = work.out.data() + r * columns;
    bf16* to = head.out + (first_row + r) * head.out_stride;
    std::int64_t d = 0;
    for (; d + n <= s.width; d += n) store(f, hn::Mul(hn::LoadU(f, out + d), hn::Set(f, inverse)), to + d);
    for (; d < s.width; ++d) to[d] = bf16(out[d] * inverse);
    if (head.log_sum) head.log_sum[first_row + r] = state.base[r % tile_rows] * s.scale + std::log(sum);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace usol
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace usol {

HWY_EXPORT(attend_block);

namespace {

// Asks for keys and values whose rows lie far apart, so that they come all at once.
void fetch(const Bf16AttentionHead& head, std::int64_t first_key, std::int64_t end_key, std::int64_t width) {
  constexpr std::int64_t kLine = 64 / sizeof(bf16);
  for (std::int64_t key = first_key; key < end_key; ++key)
    for (std::int64_t c = 0; c < width; c += kLine) {
      __builtin_prefetch(head.k + key * head.k_stride + c);
      __builtin_prefetch(head.v + key * head.v_stride + c);
    }
}

// Values of the keys of one panel, pair by pair; `zeros` [width] for keys that there are not. Zero past the end.
void pack_values(const Bf16AttentionHead& head, std::int64_t first_key, const Sizes& s, const bf16* zeros,
                 std::uint32_t* to) {
  const bf16* rows[kColumns];
  for (std::int64_t i = 0; i < kColumns; ++i) {
    const std::int64_t key = first_key + bf16_first_of_pair(i / 2) + i % 2;
    rows[i] = key < s.keys ? head.v + key * head.v_stride : zeros;
  }
  pack_bf16_pairs(rows, kColumns / 2, s.width, to, s.columns());
  for (std::int64_t i = 0; i < kColumns / 2; ++i)
    std::fill(to + i * s.columns() + s.width, to + (i + 1) * s.columns(), 0u);
}

}  // namespace

void attention_bf16(const Bf16Products& products, const Bf16AttentionHead* heads, std::int64_t head_count,
                    std::int64_t queries, std::int64_t keys, std::int64_t width, float scale) {
  const Sizes s{queries, keys, width, scale};
  const std::int64_t panels = s.panels(), blocks = tiled(queries, kBlockRows) / kBlockRows;
  const std::int64_t key_words = panels * s.panel_words(), words = key_words + panels * s.value_words();
  // As many heads at a time as keep the packed keys and values small beside the model (8 MB).
  const std::int64_t at_once = std::clamp<std::int64_t>((std::int64_t{1} << 21) / words, 1, head_count);
  Tensor packed = Tensor::empty({at_once, words}, DType::kI32);
  const std::vector<bf16> zeros(static_cast<std::size_t>(width), bf16(0.0f));
  const auto keys_of = [base = reinterpret_cast<std::uint32_t*>(packed.mutable_data<std::int32_t>()),
                        words](std::int64_t h) { return base + h * words; };
  for (std::int64_t h0 = 0; h0 < head_count; h0 += at_once) {
    const std::int64_t count = std::min(at_once, head_count - h0);
    parallel_for(0, count * panels, 4, [&](std::int64_t first, std::int64_t end) {
      for (std::int64_t i = first; i < end; ++i) {
        const Bf16AttentionHead& head = heads[h0 + i / panels];
        const std::int64_t panel = i % panels, key = panel * kColumns;
        fetch(head, key, std::min(keys, key + kColumns), width);
        std::uint32_t* to = keys_of(i / panels);
        pack_bf16_rows(head.k + key * head.k_stride, head.k_stride, keys - key, width, to + panel * s.panel_words());
        pack_values(head, key, s, zeros.data(), to + key_words + panel * s.value_words());
      }
    });
    parallel_for_each(0, count * blocks, [&](std::int64_t i) {
      const std::uint32_t* from = keys_of(i / blocks);
      HWY_DYNAMIC_DISPATCH(attend_block)
      (products, heads[h0 + i / blocks], from, from + key_words, i % blocks * kBlockRows, s);
    });
  }
}

}  // namespace usol
#endif
