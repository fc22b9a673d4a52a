// Linear layers in bf16: rows of x as they lie in memory times a packed weight, in tiles of Bf16Products whose sums are
// finished (bias, activation, residual) and rounded while they are in the L1 cache. A task is a block of rows times
// some panels of the weight, 64 columns each: a panel goes from the L2 cache past all of the block's rows before the
// next one.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "usol/ops/linear_bf16.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which compiles this file once per instruction set.
#include <hwy/highway.h>

#include <algorithm>
#include <vector>

#include "usol/autograd/grad_mode.h"
#include "usol/ops/bf16-inl.h"
#include "usol/ops/gelu-inl.h"
#include "usol/ops/linear_bf16.h"
#include "usol/ops/weight_cache.h"
#include "usol/tensor/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace usol {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <Activation kActivation, class D>
HWY_INLINE void finish(D f, const float* sums, const float* bias, bool accumulate, bf16* out) {
  auto x = hn::Add(hn::LoadU(f, sums), hn::LoadU(f, bias));
  if (accumulate) x = hn::Add(x, load(f, out));
  if constexpr (kActivation == Activation::kRelu) x = hn::Max(x, hn::Zero(f));
  if constexpr (kActivation == Activation::kGelu) x = gelu_for_bf16(f, x);
  store(f, x, out);
}

template <Activation kActivation>
void finish_rows(const float* sums, std::int64_t rows, std::int64_t columns, const float* bias, bool accumulate,
                 bf16* out, std::int64_t out_stride) {
  const hn::CappedTag<float, 16> f;
  const hn::CappedTag<float, 1> one;
  const auto n = static_cast<std::int64_t>(hn::Lanes(f));
  for (std::int64_t r = 0; r < rows; ++r, sums += Bf16Products::kColumns, out += out_stride) {
    std::int64_t c = 0;
    for (; c + n <= columns; c += n) finish<kActivation>(f, sums + c, bias + c, accumulate, out + c);
    for (; c < columns; ++c) finish<kActivation>(one, sums + c, bias + c, accumulate, out + c);
  }
}

// A tile's sums [rows, kColumns], of which `columns` count, to out.
void finish_tile(const float* sums, std::int64_t rows, std::int64_t columns, const float* bias, Activation activation,
                 bool accumulate, bf16* out, std::int64_t out_stride) {
  switch (activation) {
    case Activation::kNone:
      return finish_rows<Activation::kNone>(sums, rows, columns, bias, accumulate, out, out_stride);
    case Activation::kRelu:
      return finish_rows<Activation::kRelu>(sums, rows, columns, bias, accumulate, out, out_stride);
    case Activation::kGelu:
      return finish_rows<Activation::kGelu>(sums, rows, columns, bias, accumulate, out, out_stride);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace usol
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace usol {

HWY_EXPORT(finish_tile);

namespace {

constexpr std::int64_t kTileRows = Bf16Products::kRows, kColumns = Bf16Products::kColumns;
// Of a task: rows of x, which stay in the L2 cache beside a panel, and panels, few enough for even shares of small
// layers.
constexpr std::int64_t kBlockRows = 16 * kTileRows, kPanels = 2;

std::int64_t tiles(std::int64_t count, std::int64_t tile) { return (count + tile - 1) / tile; }

struct PackedWeight {
  Tensor words;  // [panels, inputs / 2, kColumns]
  std::int64_t outputs, inputs;
};

PackedWeight pack(const Tensor& weight) {
  const std::int64_t outputs = weight.size(0), inputs = weight.size(1), panels = tiles(outputs, kColumns);
  PackedWeight packed{Tensor::empty({panels, inputs / 2, kColumns}, DType::kI32), outputs, inputs};
  const bf16* from = weight.data<bf16>();
  auto* to = reinterpret_cast<std::uint32_t*>(packed.words.mutable_data<std::int32_t>());
  parallel_for(0, panels, 1, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t p = first; p < end; ++p)
      pack_bf16_rows(from + p * kColumns * inputs, inputs, outputs - p * kColumns, inputs,
                     to + p * (inputs / 2) * kColumns);
  });
  return packed;
}

PackedWeight packed_weight(const Tensor& weight) {
  if (grad_enabled()) return pack(weight);              // it changes after every step
  static auto& cache = *new WeightCache<PackedWeight>;  // outlives every tensor
  const auto fits = [&](const PackedWeight& p) { return p.outputs == weight.size(0) && p.inputs == weight.size(1); };
  return cache.find_or_make(weight, fits, [&] { return pack(weight); });
}

}  // namespace

void linear_bf16(const Bf16Products& products, const Tensor& x, const Tensor& weight, const Tensor& bias,
                 Activation activation, bool accumulate, Tensor& out) {
  const std::int64_t rows = x.size(0), inputs = x.size(1), outputs = weight.size(0);
  if (rows == 0 || outputs == 0) return;
  const PackedWeight packed = packed_weight(weight);
  const std::int64_t panels = tiles(outputs, kColumns), panel_words = inputs / 2 * kColumns;
  std::vector<float> added(static_cast<std::size_t>(outputs), 0.0f);
  if (bias.defined()) std::copy_n(bias.data<bf16>(), outputs, added.begin());
  const bf16* from = x.data<bf16>();
  const auto* words = reinterpret_cast<const std::uint32_t*>(packed.words.data<std::int32_t>());
  bf16* to = out.mutable_data<bf16>();
  const std::int64_t parts = tiles(panels, kPanels);
  parallel_for_each(0, tiles(rows, kBlockRows) * parts, [&](std::int64_t task) {
    alignas(64) float sums[kTileRows * kColumns];
    const std::int64_t first = task / parts * kBlockRows, end = std::min(rows, first + kBlockRows);
    const std::int64_t first_panel = task % parts * kPanels, end_panel = std::min(panels, first_panel + kPanels);
    for (std::int64_t p = first_panel; p < end_panel; ++p)
      for (std::int64_t r = first; r < end; r += kTileRows) {
        const std::int64_t some = std::min(kTileRows, end - r), column = p * kColumns;
        products.multiply({from + r * inputs, inputs, words + p * panel_words, kColumns, sums, kColumns, inputs / 2,
                           static_cast<int>(some), false});
        HWY_DYNAMIC_DISPATCH(finish_tile)
        (sums, some, std::min(kColumns, outputs - column), added.data() + column, activation, accumulate,
         to + r * outputs + column, outputs);
      }
  });
}

}  // namespace usol
#endif
