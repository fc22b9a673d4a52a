// The weight's gradient by the transforms of Winograd's convolution, turned round. With y = A^T (G w G^T . B^T d B) A,
// a tile's share of dw is G^T (A dy A^T . B^T d B) G. So each of the 36 positions is a product of two matrices that the
// tiles are the inner dimension of.

#include <algorithm>
#include <vector>

#include "usol/ops/conv2d_winograd.h"
#include "usol/ops/conv2d_winograd_tiles.h"
#include "usol/ops/gemm.h"
#include "usol/tensor/parallel.h"

namespace usol {
namespace {

// G^T s G: sums [36, C, O] -> out [O, C, 3, 3].
void transform_back(const Tensor& sums, Tensor& out) {
  constexpr std::size_t kLanes = kWinogradChannels;
  const std::int64_t outs = out.size(0), ins = out.size(1);
  const float* from = sums.data<float>();
  float* to = out.mutable_data<float>();
  const auto g = winograd_kernel_matrix();
  parallel_for(0, outs / kWinogradChannels, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t o = first * kWinogradChannels; o < last * kWinogradChannels; o += kWinogradChannels)
      for (std::int64_t c = 0; c < ins; ++c) {
        double rows[3][kWinogradTile][kLanes] = {};
        for (std::size_t i = 0; i < kWinogradTile; ++i)
          for (std::size_t j = 0; j < kWinogradTile; ++j) {
            const float* s = from + (static_cast<std::int64_t>(i * kWinogradTile + j) * ins + c) * outs + o;
            for (std::size_t y = 0; y < 3; ++y)
              for (std::size_t l = 0; l < kLanes; ++l) rows[y][j][l] += g[i][y] * double{s[l]};
          }
        for (std::size_t y = 0; y < 3; ++y)
          for (std::size_t x = 0; x < 3; ++x) {
            double sum[kLanes] = {};
            for (std::size_t j = 0; j < kWinogradTile; ++j)
              for (std::size_t l = 0; l < kLanes; ++l) sum[l] += rows[y][j][l] * g[j][x];
            for (std::size_t l = 0; l < kLanes; ++l)
              to[((o + static_cast<std::int64_t>(l)) * ins + c) * 9 + static_cast<std::int64_t>(y * 3 + x)] =
                  static_cast<float>(sum[l]);
          }
      }
  });
}

}  // namespace

bool winograd_grad_fits(const Tensor& x, const Tensor& weight, const Tensor& y, const Conv2dOptions& options) {
  constexpr std::int64_t kLeastTiles = 64;  // the kernels' transforms are not kept
  return winograd_fits(x, weight, options, y) && std::max(options.padding[0], options.padding[1]) <= 2 &&
         WinogradTiles(y.shape()).count() >= kLeastTiles;
}

void conv2d_winograd_grad_weight(const Tensor& x, const Tensor& grad, const Conv2dOptions& options, Tensor& out) {
  const std::int64_t ins = x.size(1), outs = grad.size(1);
  const WinogradTiles tiles(grad.shape());
  // As many tiles at once as leave both transformed maps in the last cache.
  constexpr std::int64_t kFloats = std::int64_t{1} << 22;
  const std::int64_t most =
      std::min(tiles.count(), std::max<std::int64_t>(16, kFloats / (kWinogradPositions * (ins + outs))));
  Tensor inputs = Tensor::empty({kWinogradPositions * most * ins});
  Tensor grads = Tensor::empty({kWinogradPositions * most * outs});
  Tensor sums = Tensor::empty({kWinogradPositions, ins, outs});
  float* from = inputs.mutable_data<float>();
  float* of_results = grads.mutable_data<float>();
  float* sum = sums.mutable_data<float>();
  const WinogradMap<const float> map{x.data<float>(), x.size(2), x.size(3), ins};
  const WinogradMap<const float> results{grad.data<float>(), grad.size(2), grad.size(3), outs};
  const std::vector<float> zeros(static_cast<std::size_t>(std::max(ins, outs)));
  for (std::int64_t begin = 0; begin < tiles.count(); begin += most) {
    const std::int64_t count = std::min(most, tiles.count() - begin);
    parallel_for(0, count, 4, [&](std::int64_t first, std::int64_t last) {
      const float* pixels[kWinogradPositions];
      for (std::int64_t t = first; t < last; ++t) {
        const auto [n, top, left] = tiles.place(begin + t);
        map.pixels(n, top - options.padding[0], left - options.padding[1], kWinogradTile, zeros.data(), pixels);
        winograd_input(pixels, ins, from + t * ins, count * ins);
        results.pixels(n, top, left, kWinogradOut, zeros.data(), pixels);
        winograd_output_grad(pixels, outs, of_results + t * outs, count * outs);
      }
    });
    parallel_for_each(0, kWinogradPositions, [&](std::int64_t i) {
      Gemm<float> g;
      g.transpose_a = true;
      g.m = ins;
      g.n = outs;
      g.k = count;
      g.a = from + i * count * ins;
      g.lda = ins;
      g.b = of_results + i * count * outs;
      g.ldb = outs;
      g.c = sum + i * ins * outs;
      g.ldc = outs;
      g.accumulate = begin > 0;
      gemm(g);
    });
  }
  transform_back(sums, out);
}

}  // namespace usol
