// Fused attention for f32 with Highway, chosen for the CPU at run time.
//
// Per head, keys are repacked once as panels of four vectors: panel[d][4N] holds element d of 4N keys. A task is a
// block of query rows, repacked likewise: q[d][kTileRows]. It walks the keys in chunks: scores = q k^T for the chunk
// (register tiles of kTileRows x 4 vectors: per product the fewest loads, which are what limits it), online softmax
// (running maximum and sum per row; earlier results are rescaled when the maximum grows), out += p v, some values at a
// time that stay in the L1 cache. A chunk's scores, keys and values stay in the L2 cache, and the whole score matrix is
// never stored.
//
// The register tiles are arrays of vectors, which vectors of a length known only at run time (SVE, RISC-V) cannot be
// in: there, NEON's are taken.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "usol/ops/attention_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which compiles this file once per instruction set.
#include <hwy/aligned_allocator.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "usol/ops/attention_cpu.h"
#include "usol/ops/exp-inl.h"
#include "usol/tensor/parallel.h"
#include "usol/tensor/tensor.h"

HWY_BEFORE_NAMESPACE();
namespace usol {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F = hn::ScalableTag<float>;
using V = hn::Vec<F>;

// Rows of a register tile, which is four vectors wide: what the registers hold.
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL || HWY_ARCH_ARM_A64
constexpr int kTileRows = 6;
#else
constexpr int kTileRows = 3;
#endif
constexpr std::int64_t kBlockRows = 48;  // query rows of a task: a multiple of the tile rows
constexpr std::int64_t kChunk = 512;     // keys at a time: a multiple of any panel width
constexpr std::int64_t kValueRows = 64;  // values at a time

// scores[r][0..4N) = sum_d q[d][r] * panel[d][0..4N)
HWY_INLINE void score_tile(const float* HWY_RESTRICT q, std::int64_t width, const float* HWY_RESTRICT panel,
                           float* HWY_RESTRICT scores) {
  const F f;
  const auto n = static_cast<std::int64_t>(hn::Lanes(f));
  V a[kTileRows][4];
  for (int r = 0; r < kTileRows; ++r)
    for (int c = 0; c < 4; ++c) a[r][c] = hn::Zero(f);
  for (std::int64_t d = 0; d < width; ++d, panel += 4 * n, q += kTileRows) {
    const V k0 = hn::Load(f, panel), k1 = hn::Load(f, panel + n), k2 = hn::Load(f, panel + 2 * n),
            k3 = hn::Load(f, panel + 3 * n);
    HWY_UNROLL(kTileRows)
    for (int r = 0; r < kTileRows; ++r) {
      const V x = hn::Set(f, q[r]);
      a[r][0] = hn::MulAdd(x, k0, a[r][0]);
      a[r][1] = hn::MulAdd(x, k1, a[r][1]);
      a[r][2] = hn::MulAdd(x, k2, a[r][2]);
      a[r][3] = hn::MulAdd(x, k3, a[r][3]);
    }
  }
  for (int r = 0; r < kTileRows; ++r)
    for (int c = 0; c < 4; ++c) hn::Store(a[r][c], f, scores + r * kChunk + c * n);
}

// out[r][0..4N) += sum_j p[r][j] * v[j][0..4N)
HWY_INLINE void value_tile(const float* HWY_RESTRICT p, std::int64_t keys, const float* HWY_RESTRICT v,
                           std::int64_t v_stride, float* HWY_RESTRICT out, std::int64_t out_stride) {
  const F f;
  const auto n = static_cast<std::int64_t>(hn::Lanes(f));
  V a[kTileRows][4];
  for (int r = 0; r < kTileRows; ++r)
    for (int c = 0; c < 4; ++c) a[r][c] = hn::Load(f, out + r * out_stride + c * n);
  for (std::int64_t j = 0; j < keys; ++j) {
    const float* row = v + j * v_stride;
    const V v0 = hn::Load(f, row), v1 = hn::Load(f, row + n), v2 = hn::Load(f, row + 2 * n),
            v3 = hn::Load(f, row + 3 * n);
    HWY_UNROLL(kTileRows)
    for (int r = 0; r < kTileRows; ++r) {
      const V x = hn::Set(f, p[r * kChunk + j]);
      a[r][0] = hn::MulAdd(x, v0, a[r][0]);
      a[r][1] = hn::MulAdd(x, v1, a[r][1]);
      a[r][2] = hn::MulAdd(x, v2, a[r][2]);
      a[r][3] = hn::MulAdd(x, v3, a[r][3]);
    }
  }
  for (int r = 0; r < kTileRows; ++r)
    for (int c = 0; c < 4; ++c) hn::Store(a[r][c], f, out + r * out_stride + c * n);
}

// Turns a row of scores, none larger than `top`, into exp(score - maximum) and updates the row's maximum and sum.
// Returns the factor by which what was accumulated under the old maximum shrinks. `columns` is a multiple of the vector
// length.
float soften(float* HWY_RESTRICT scores, std::int64_t columns, float top, float& maximum, float& sum) {
  const F f;
  const auto n = static_cast<std::int64_t>(hn::Lanes(f));
  const float new_maximum = std::max(maximum, top);
  const V shift = hn::Set(f, new_maximum), low = hn::Set(f, -87.0f);  // Max(low, NaN) is NaN
  V even = hn::Zero(f), odd = hn::Zero(f);
  for (std::int64_t j = 0; j < columns; j += 2 * n) {
    const V a = exp_in_range(f, hn::Max(low, hn::Sub(hn::Load(f, scores + j), shift)));
    const V b = exp_in_range(f, hn::Max(low, hn::Sub(hn::Load(f, scores + j + n), shift)));
    hn::Store(a, f, scores + j);
    hn::Store(b, f, scores + j + n);
    even = hn::Add(even, a);
    odd = hn::Add(odd, b);
  }
  const float shrink = std::exp(maximum - new_maximum);  // 0 for the first chunk: exp(-inf)
  sum = sum * shrink + hn::GetLane(hn::SumOfLanes(f, hn::Add(even, odd)));
  maximum = new_maximum;
  return shrink;
}

// `columns`: a multiple of the vector length.
float largest(const float* HWY_RESTRICT scores, std::int64_t columns) {
  const F f;
  const auto n = static_cast<std::int64_t>(hn::Lanes(f));
  V top = hn::Set(f, -INFINITY);
  for (std::int64_t j = 0; j < columns; j += n) top = hn::Max(top, hn::Load(f, scores + j));
  return hn::GetLane(hn::MaxOfLanes(f, top));
}

// scores[j] += the query's bias of key first + j, for `count` keys.
void add_bias(const AttentionHead& head, std::int64_t query, std::int64_t first, std::int64_t count,
              float* HWY_RESTRICT scores) {
  const F f;
  const auto n = static_cast<std::int64_t>(hn::Lanes(f));
  const float* of_columns = head.column_bias + query * head.key_columns;
  for (std::int64_t j = 0; j < count;) {  // a row of keys at a time
    const std::int64_t row = (first + j) / head.key_columns, column = (first + j) % head.key_columns;
    const std::int64_t end = std::min(count, j + head.key_columns - column);
    const float of_row = head.row_bias[query * head.key_rows + row];
    const std::int64_t shift = column - j;
    const V wide = hn::Set(f, of_row);
    for (; j + n <= end; j += n)
      hn::StoreU(hn::Add(hn::LoadU(f, scores + j), hn::Add(wide, hn::LoadU(f, of_columns + j + shift))), f, scores + j);
    for (; j < end; ++j) scores[j] += of_row + of_columns[j + shift];
  }
}

struct Workspace {  // of one task; the widths are padded to whole tiles
  float* q;         // [kBlockRows / kTileRows, width, kTileRows], scaled
  float* scores;    // [kBlockRows, kChunk]
  float* out;       // [kBlockRows, padded width]
};

void attend_block(const AttentionHead& head, const float* panels, const float* values, std::int64_t value_width,
                  std::int64_t first_row, std::int64_t rows, std::int64_t keys, std::int64_t width, float scale,
                  const Workspace& work) {
  const F f;
  const auto n = static_cast<std::int64_t>(hn::Lanes(f));
  const std::int64_t panel_width = 4 * n;
  const auto tiled = [](std::int64_t count, std::int64_t tile) { return (count + tile - 1) / tile * tile; };
  const std::int64_t tiled_rows = tiled(rows, kTileRows);
  for (std::int64_t r = 0; r < kBlockRows; ++r) {
    float* q = work.q + r / kTileRows * kTileRows * width + r % kTileRows;
    for (std::int64_t d = 0; d < width; ++d)
      q[d * kTileRows] = r < rows ? head.q[(first_row + r) * head.q_stride + d] * scale : 0.0f;
  }
  std::fill_n(work.out, kBlockRows * value_width, 0.0f);
  float maximum[kBlockRows], sum[kBlockRows];
  std::fill_n(maximum, kBlockRows, -INFINITY);
  std::fill_n(sum, kBlockRows, 0.0f);

  for (std::int64_t first_key = 0; first_key < keys; first_key += kChunk) {
    const std::int64_t count = std::min(kChunk, keys - first_key), columns = tiled(count, panel_width);
    for (std::int64_t c = 0; c < columns; c += panel_width) {
      const float* panel = panels + (first_key + c) * width;
      for (std::int64_t r = 0; r < tiled_rows; r += kTileRows)
        score_tile(work.q + r * width, width, panel, work.scores + r * kChunk + c);
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      float* scores = work.scores + r * kChunk;
      if (head.row_bias) add_bias(head, first_row + r, first_key, count, scores);
      std::fill(scores + count, scores + columns, -INFINITY);  // the last panel's padding
      const float shrink = soften(scores, columns, largest(scores, columns), maximum[r], sum[r]);
      if (shrink != 1.0f)
        for (std::int64_t d = 0; d < value_width; ++d) work.out[r * value_width + d] *= shrink;
    }
    for (std::int64_t j = 0; j < count; j += kValueRows) {
      const std::int64_t some = std::min(kValueRows, count - j);
      for (std::int64_t c = 0; c < value_width; c += 4 * n)
        for (std::int64_t r = 0; r < tiled_rows; r += kTileRows)
          value_tile(work.scores + r * kChunk + j, some, values + (first_key + j) * value_width + c, value_width,
                     work.out + r * value_width + c, value_width);
    }
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    const float inverse = 1.0f / sum[r];
    for (std::int64_t d = 0; d < width; ++d)
      head.out[(first_row + r) * head.out_stride + d] = work.out[r * value_width + d] * inverse;
    if (head.log_sum) head.log_sum[first_row + r] = maximum[r] + std::log(sum[r]);
  }
}

// Repacks keys [key0, key0 + panel_width) as one panel, zero past the end, and their values as padded rows.
void pack(const AttentionHead& head, std::int64_t key0, std::int64_t panel_width, std::int64_t keys, std::int64_t width,
          std::int64_t value_width, float* panels, float* values) {
  float* panel = panels + key0 * width;
  for (std::int64_t j = 0; j < panel_width; ++j)
    for (std::int64_t d = 0; d < width; ++d)
      panel[d * panel_width + j] = key0 + j < keys ? head.k[(key0 + j) * head.k_stride + d] : 0.0f;
  for (std::int64_t j = key0; j < std::min(keys, key0 + panel_width); ++j) {
    std::copy_n(head.v + j * head.v_stride, width, values + j * value_width);
    std::fill(values + j * value_width + width, values + (j + 1) * value_width, 0.0f);
  }
}

void attention(const AttentionHead* heads, std::int64_t head_count, std::int64_t queries, std::int64_t keys,
               std::int64_t width, float scale) {
  const F f;
  const auto n = static_cast<std::int64_t>(hn::Lanes(f));
  const std::int64_t panel_width = 4 * n, panels = (keys + panel_width - 1) / panel_width;
  const std::int64_t value_width = (width + 4 * n - 1) / (4 * n) * (4 * n);
  const std::int64_t panel_floats = panels * panel_width * width, value_floats = keys * value_width;
  const std::int64_t blocks = (queries + kBlockRows - 1) / kBlockRows;
  // A few heads at a time, so that the packed keys and values stay small beside the model. Tensor memory is 64-byte
  // aligned and all parts are whole vectors, so every panel and row of values is aligned too.
  constexpr std::int64_t kHeadsAtOnce = 4;
  Tensor packed = Tensor::empty({std::min(kHeadsAtOnce, head_count), panel_floats + value_floats});
  const auto panels_of = [base = packed.mutable_data<float>(), size = panel_floats + value_floats](std::int64_t h) {
    return base + h * size;
  };
  for (std::int64_t h0 = 0; h0 < head_count; h0 += kHeadsAtOnce) {
    const std::int64_t count = std::min(kHeadsAtOnce, head_count - h0);
    parallel_for(0, count * panels, 8, [&](std::int64_t first, std::int64_t end) {
      for (std::int64_t i = first; i < end; ++i)
        pack(heads[h0 + i / panels], i % panels * panel_width, panel_width, keys, width, value_width,
             panels_of(i / panels), panels_of(i / panels) + panel_floats);
    });
    parallel_for_each(0, count * blocks, [&](std::int64_t i) {
      const std::int64_t first_row = i % blocks * kBlockRows;
      const auto scratch =
          hwy::AllocateAligned<float>(static_cast<std::size_t>(kBlockRows * (kChunk + value_width + width)));
      Workspace work;
      work.scores = scratch.get();
      work.out = work.scores + kBlockRows * kChunk;
      work.q = work.out + kBlockRows * value_width;
      attend_block(heads[h0 + i / blocks], panels_of(i / blocks), panels_of(i / blocks) + panel_floats, value_width,
                   first_row, std::min(kBlockRows, queries - first_row), keys, width, scale, work);
    });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace usol
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace usol {

HWY_EXPORT(attention);

void attention_f32(const AttentionHead* heads, std::int64_t head_count, std::int64_t queries, std::int64_t keys,
                   std::int64_t width, float scale) {
  HWY_DYNAMIC_DISPATCH(attention)(heads, head_count, queries, keys, width, scale);
}

}  // namespace usol
#endif
