// A task makes a block of the gradient, up to 256 outputs times four panels of 64 columns (a column is an input channel
// under one tap of the kernel), from a piece of the pixels. It takes a few hundred pixels at a time: their gradients
// become words of two neighbouring pixels, then those of x that a panel's taps see do, and tiles of six outputs are
// added to the block's sums, which stay in the L2 cache. Pieces are as many as the shapes say, and are added up in
// their order.
#include "usol/ops/conv2d_grad_weight_bf16.h"

#include <algorithm>
#include <array>
#include <vector>

#include "usol/ops/bf16_pairs.h"
#include "usol/tensor/parallel.h"

namespace usol {
namespace {

constexpr std::int64_t kTileRows = Bf16Products::kRows, kColumns = Bf16Products::kColumns;
constexpr std::int64_t kBlockOutputs = 256, kBlockPanels = 4;  // of a task
constexpr std::int64_t kPairs = 128;                           // that are multiplied at once
// Pieces of pixels are made until there are so many tasks, but not smaller ones than this.
constexpr std::int64_t kWantedTasks = 32, kLeastPairs = 8 * kPairs;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

struct Work {
  const Bf16Products& products;
  const bf16 *x, *grad;
  std::int64_t channels, height, width;         // of x
  std::int64_t outputs, out_height, out_width;  // of grad
  std::int64_t pixels;                          // of grad, all images together
  std::int64_t kernel_h, kernel_w;
  std::array<std::int64_t, 2> stride, padding, dilation;

  std::int64_t taps() const { return kernel_h * kernel_w; }
  std::int64_t columns() const { return taps() * channels; }
  std::int64_t panels() const { return ceil_div(columns(), kColumns); }
  std::int64_t output_blocks() const { return ceil_div(outputs, kBlockOutputs); }
  std::int64_t panel_blocks() const { return ceil_div(panels(), kBlockPanels); }
  std::int64_t pairs() const { return ceil_div(pixels, 2); }
  std::int64_t pieces() const {
    const std::int64_t wanted = ceil_div(kWantedTasks, output_blocks() * panel_blocks());
    return std::clamp<std::int64_t>(pairs() / kLeastPairs, 1, wanted);
  }
};

// A task's memory, which its thread keeps.
struct Room {
  std::vector<std::uint32_t> grads, inputs;  // words [kPairs, grad_stride()], [kPairs, kColumns]
  std::vector<float> sums;                   // [kBlockPanels, kBlockOutputs, kColumns]
  std::vector<bf16> zeros;
};

// Words from one pair of gradients to the next: not a power of two, so that a column of them spreads over the cache.
constexpr std::int64_t kGradStride = kBlockOutputs + 16;

// Where the taps of some pixels of the result begin in x.
struct Corners {
  std::array<const bf16*, 2 * kPairs> image;
  std::array<std::int64_t, 2 * kPairs> top, left;
  std::int64_t count;

  Corners(const Work& w, std::int64_t first, std::int64_t end) : count(end - first) {
    for (std::int64_t p = first; p < end; ++p) {
      const auto i = static_cast<std::size_t>(p - first);
      const std::int64_t line = p / w.out_width;
      image[i] = w.x + line / w.out_height * w.height * w.width * w.channels;
      top[i] = line % w.out_height * w.stride[0] - w.padding[0];
      left[i] = p % w.out_width * w.stride[1] - w.padding[1];
    }
  }

  // Where the tap sees each pixel of x, `channel` on; `zeros` beside the map and for pixels that there are not.
  void under(const Work& w, std::int64_t tap, std::int64_t channel, std::int64_t pairs, const bf16* zeros,
             const bf16** rows) const {
    const std::int64_t down = tap / w.kernel_w * w.dilation[0], across = tap % w.kernel_w * w.dilation[1];
    for (std::int64_t p = 0; p < 2 * pairs; ++p) {
      const auto i = static_cast<std::size_t>(p);
      if (p >= count) {
        rows[p] = zeros;
        continue;
      }
      const std::int64_t y = top[i] + down, at = left[i] + across;
      const bool inside = y >= 0 && y < w.height && at >= 0 && at < w.width;
      rows[p] = inside ? image[i] + (y * w.width + at) * w.channels + channel : zeros;
    }
  }
};

// Words of what the columns of a panel see: [pairs, kColumns], zero beyond the last column.
void pack_panel(const Work& w, const Corners& corners, std::int64_t panel, std::int64_t pairs, Room& room) {
  const std::int64_t begin = panel * kColumns, end = std::min(w.columns(), begin + kColumns);
  const bf16* rows[2 * kPairs];
  if (end - begin < kColumns) std::fill_n(room.inputs.begin(), pairs * kColumns, 0u);
  for (std::int64_t column = begin; column < end;) {
    const std::int64_t channel = column % w.channels, some = std::min(w.channels - channel, end - column);
    corners.under(w, column / w.channels, channel, pairs, room.zeros.data(), rows);
    pack_bf16_pairs(rows, pairs, some, room.inputs.data() + (column - begin), kColumns);
    column += some;
  }
}

// Sums of the outputs from first_output on and of the panels from first_panel on over a piece of the pairs.
void sum_block(const Work& w, std::int64_t first_output, std::int64_t first_panel, std::int64_t first_pair,
               std::int64_t end_pair, Room& room) {
  const std::int64_t outputs = std::min(kBlockOutputs, w.outputs - first_output);
  const std::int64_t panels = std::min(kBlockPanels, w.panels() - first_panel);
  const bf16* rows[2 * kPairs];
  for (std::int64_t begin = first_pair; begin < end_pair; begin += kPairs) {
    const std::int64_t pairs = std::min(kPairs, end_pair - begin), end = std::min(w.pixels, 2 * (begin + pairs));
    for (std::int64_t p = 0; p < 2 * pairs; ++p)
      rows[p] = 2 * begin + p < end ? w.grad + (2 * begin + p) * w.outputs + first_output : room.zeros.data();
    pack_bf16_pairs(rows, pairs, outputs, room.grads.data(), kGradStride);
    const Corners corners(w, 2 * begin, end);
    for (std::int64_t panel = 0; panel < panels; ++panel) {
      pack_panel(w, corners, first_panel + panel, pairs, room);
      for (std::int64_t o = 0; o < outputs; o += kTileRows)
        w.products.multiply({reinterpret_cast<const bf16*>(room.grads.data() + o), 2, room.inputs.data(), kColumns,
                             room.sums.data() + (panel * kBlockOutputs + o) * kColumns, kColumns, pairs,
                             static_cast<int>(std::min(kTileRows, outputs - o)), begin > first_pair, 2 * kGradStride});
    }
  }
}

void grad_weight(const Work& w, bf16* to) {
  const std::int64_t pieces = w.pieces(), panel_blocks = w.panel_blocks(), blocks = w.output_blocks() * panel_blocks;
  // Sums [columns] of an output to its place in [O, C, kh, kw].
  const auto put = [&](std::int64_t output, std::int64_t column, float sum) {
    to[(output * w.channels + column % w.channels) * w.taps() + column / w.channels] = bf16(sum);
  };
  Tensor partial = Tensor::empty({pieces > 1 ? pieces : 0, w.outputs, w.columns()});
  float* const parts = partial.mutable_data<float>();
  parallel_for_each(0, blocks * pieces, [&](std::int64_t task) {
    thread_local Room room;
    room.grads.resize(static_cast<std::size_t>(kPairs * kGradStride));
    room.inputs.resize(static_cast<std::size_t>(kPairs * kColumns));
    room.sums.resize(static_cast<std::size_t>(kBlockPanels * kBlockOutputs * kColumns));
    room.zeros.resize(static_cast<std::size_t>(std::max(kBlockOutputs, w.channels)), bf16(0.0f));
    const std::int64_t piece = task / blocks, first_output = task % blocks / panel_blocks * kBlockOutputs;
    const std::int64_t first_panel = task % panel_blocks * kBlockPanels;
    sum_block(w, first_output, first_panel, w.pairs() * piece / pieces, w.pairs() * (piece + 1) / pieces, room);
    const std::int64_t first_column = first_panel * kColumns;
    const std::int64_t columns = std::min(w.columns() - first_column, kBlockPanels * kColumns);
    for (std::int64_t o = 0; o < std::min(kBlockOutputs, w.outputs - first_output); ++o)
      for (std::int64_t begin = 0; begin < columns; begin += kColumns) {
        const float* from = room.sums.data() + (begin * kBlockOutputs + o * kColumns);
        const std::int64_t output = first_output + o, count = std::min(kColumns, columns - begin);
        if (pieces > 1)
          std::copy_n(from, count, parts + (piece * w.outputs + output) * w.columns() + first_column + begin);
        else
          for (std::int64_t c = 0; c < count; ++c) put(output, first_column + begin + c, from[c]);
      }
  });
  if (pieces == 1) return;
  parallel_for(0, w.outputs, std::max<std::int64_t>(1, 16384 / w.columns()), [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t o = first; o < end; ++o)
      for (std::int64_t c = 0; c < w.columns(); ++c) {
        float sum = 0;
        for (std::int64_t p = 0; p < pieces; ++p) sum += parts[(p * w.outputs + o) * w.columns() + c];
        put(o, c, sum);
      }
  });
}

}  // namespace

void conv2d_grad_weight_bf16(const Bf16Products& products, const Tensor& x, const Tensor& grad,
                             const Conv2dOptions& options, Tensor& out) {
  const Work work{products,
                  reinterpret_cast<const bf16*>(x.raw()),
                  reinterpret_cast<const bf16*>(grad.raw()),
                  x.size(1),
                  x.size(2),
                  x.size(3),
                  grad.size(1),
                  grad.size(2),
                  grad.size(3),
                  grad.size(0) * grad.size(2) * grad.size(3),
                  out.size(2),
                  out.size(3),
                  options.stride,
                  options.padding,
                  options.dilation};
  grad_weight(work, out.mutable_data<bf16>());
}

void linear_grad_weight_bf16(const Bf16Products& products, const Tensor& x, const Tensor& grad, Tensor& out) {
  const std::int64_t rows = x.size(0);
  const Work work{
      products, x.data<bf16>(), grad.data<bf16>(), x.size(1), 1, rows, grad.size(1), 1, rows, rows, 1, 1, {1, 1},
      {0, 0},   {1, 1}};
  grad_weight(work, out.mutable_data<bf16>());
}

}  // namespace usol
