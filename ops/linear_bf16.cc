// Linear layers in bf16: rows of x as they lie in memory times a packed weight, in tiles of Bf16Products whose sums are
// finished (bias, activation, residual) and rounded while they are in the L1 cache. A task is a block of rows times
// some panels of the weight, 64 columns each: a panel goes from the L2 cache past all of the block's rows before the
// next one.
#include "usol/ops/linear_bf16.h"

#include <algorithm>
#include <vector>

#include "usol/autograd/grad_mode.h"
#include "usol/ops/weight_cache.h"
#include "usol/tensor/parallel.h"

namespace usol {
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
  std::vector<float> added(static_cast<std::size_t>(panels * kColumns), 0.0f);
  if (bias.defined()) std::copy_n(bias.data<bf16>(), outputs, added.begin());
  const bf16* from = x.data<bf16>();
  const auto* words = reinterpret_cast<const std::uint32_t*>(packed.words.data<std::int32_t>());
  bf16* to = out.mutable_data<bf16>();
  const std::int64_t parts = tiles(panels, kPanels);
  parallel_for_each(0, tiles(rows, kBlockRows) * parts, [&](std::int64_t task) {
    const std::int64_t first = task / parts * kBlockRows, end = std::min(rows, first + kBlockRows);
    const std::int64_t first_panel = task % parts * kPanels, end_panel = std::min(panels, first_panel + kPanels);
    // A tile is finished after the next one's products are begun: the processor then does both at once.
    alignas(64) float sums[2][kTileRows * kColumns];
    Bf16Sums last = {};
    for (std::int64_t p = first_panel; p < end_panel; ++p)
      for (std::int64_t r = first; r < end; r += kTileRows) {
        const std::int64_t column = p * kColumns;
        const int some = static_cast<int>(std::min(kTileRows, end - r));
        float* here = last.sums == sums[0] ? sums[1] : sums[0];
        bf16* result = to + r * outputs + column;
        for (int i = 0; i < some; ++i) {  // by the time they are needed they are here
          __builtin_prefetch(result + i * outputs, 1);
          __builtin_prefetch(result + i * outputs + kColumns / 2, 1);
        }
        products.multiply(
            {from + r * inputs, inputs, words + p * panel_words, kColumns, here, kColumns, inputs / 2, some, false});
        if (last.sums) products.finish(last);
        last = {here,       added.data() + column,
                result,     outputs,
                some,       static_cast<int>(std::min(kColumns, outputs - column)),
                activation, accumulate};
      }
    products.finish(last);
  });
}

}  // namespace usol
