#include "usol/ops/conv2d_winograd.h"

#include <algorithm>
#include <array>
#include <vector>

#include "usol/ops/conv2d_winograd_tiles.h"
#include "usol/ops/gemm.h"
#include "usol/ops/weight_cache.h"
#include "usol/tensor/parallel.h"

namespace usol {
namespace {

constexpr std::int64_t kPositions = kWinogradTile * kWinogradTile;

std::int64_t tiles_along(std::int64_t size) { return (size + kWinogradOut - 1) / kWinogradOut; }
std::int64_t tiles_of(const Tensor& out) { return out.size(0) * tiles_along(out.size(2)) * tiles_along(out.size(3)); }

// G, 6 x 3: the powers of each point, divided by the product of its differences to the others.
std::array<std::array<double, 3>, kWinogradTile> kernel_matrix() {
  const double a2 = double{kNear} * kNear, b2 = double{kFar} * kFar;
  const double near = 1 / (2 * a2 * (a2 - b2)), far = 1 / (2 * b2 * (b2 - a2));
  return {{{1 / (a2 * b2), 0, 0},
           {near, near * kNear, near * a2},
           {near, -near * kNear, near * a2},
           {far, far * kFar, far * b2},
           {far, -far * kFar, far * b2},
           {0, 0, 1}}};
}

// weight [O, C, 3, 3] -> G w G^T: [36, C, O].
Tensor transformed(const Tensor& weight) {
  const std::int64_t outs = weight.size(0), ins = weight.size(1);
  Tensor result = Tensor::empty({kPositions, ins, outs}, DType::kF32);
  const float* from = weight.data<float>();
  float* to = result.mutable_data<float>();
  const auto g = kernel_matrix();
  parallel_for(0, ins, 4, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t c = first; c < last; ++c)
      for (std::int64_t o = 0; o < outs; ++o) {
        const float* w = from + (o * ins + c) * 9;
        double rows[kWinogradTile][3];
        for (std::size_t i = 0; i < kWinogradTile; ++i)
          for (std::size_t x = 0; x < 3; ++x)
            rows[i][x] = g[i][0] * double{w[x]} + g[i][1] * double{w[3 + x]} + g[i][2] * double{w[6 + x]};
        for (std::size_t i = 0; i < kWinogradTile; ++i)
          for (std::size_t j = 0; j < kWinogradTile; ++j) {
            const double sum = rows[i][0] * g[j][0] + rows[i][1] * g[j][1] + rows[i][2] * g[j][2];
            to[(static_cast<std::int64_t>(i * kWinogradTile + j) * ins + c) * outs + o] = static_cast<float>(sum);
          }
      }
  });
  return result;
}

}  // namespace

bool winograd_fits(const Tensor& x, const Tensor& weight, const Conv2dOptions& o, const Tensor& out) {
  constexpr std::array<std::int64_t, 2> kOne{1, 1};
  constexpr std::int64_t kLeastChannels = 64, kLeastTiles = 32;
  const std::int64_t ins = weight.size(1), outs = weight.size(0);
  return x.dtype() == DType::kF32 && weight.size(2) == 3 && weight.size(3) == 3 && o.stride == kOne &&
         o.dilation == kOne && o.groups == 1 && ins % 16 == 0 && outs % 16 == 0 &&
         std::min(ins, outs) >= kLeastChannels && tiles_of(out) >= kLeastTiles;
}

void conv2d_winograd(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
                     bool accumulate, Tensor& out) {
  static auto& cache = *new WeightCache<Tensor>;  // outlives every tensor
  const std::int64_t height = x.size(2), width = x.size(3), ins = x.size(1), outs = out.size(1);
  const Tensor kernels = cache.find_or_make(
      weight,
      [&](const Tensor& made) {
        return made.shape() == Shape{kPositions, ins, outs};
      },
      [&] { return transformed(weight); });
  const std::int64_t out_height = out.size(2), out_width = out.size(3);
  const std::int64_t across = tiles_along(out_width), per_map = across * tiles_along(out_height);
  const std::int64_t tiles = tiles_of(out);
  // As many tiles at once as leave the transformed maps in the last cache.
  constexpr std::int64_t kFloats = std::int64_t{1} << 20;
  const std::int64_t most = std::min(tiles, std::max<std::int64_t>(16, kFloats / (kPositions * std::max(ins, outs))));
  Tensor inputs = Tensor::empty({kPositions * most * ins}), products = Tensor::empty({kPositions * most * outs});
  float* from = inputs.mutable_data<float>();
  float* product = products.mutable_data<float>();
  const float* map = reinterpret_cast<const float*>(x.raw());
  const float* shift = bias.defined() ? bias.data<float>() : nullptr;
  out.storage()->bump_version();
  auto* to = reinterpret_cast<float*>(out.raw());
  const std::vector<float> zeros(static_cast<std::size_t>(ins));
  // Where tile t's results begin: map, row, column.
  const auto place = [&](std::int64_t t) {
    return std::array{t / per_map, t % per_map / across * kWinogradOut, t % across * kWinogradOut};
  };
  for (std::int64_t begin = 0; begin < tiles; begin += most) {
    const std::int64_t count = std::min(most, tiles - begin);
    parallel_for(0, count, 4, [&](std::int64_t first, std::int64_t last) {
      const float* pixels[kPositions];
      for (std::int64_t t = first; t < last; ++t) {
        const auto [n, top, left] = place(begin + t);
        for (std::int64_t i = 0; i < kPositions; ++i) {
          const std::int64_t y = top + i / kWinogradTile - options.padding[0];
          const std::int64_t column = left + i % kWinogradTile - options.padding[1];
          const bool inside = y >= 0 && y < height && column >= 0 && column < width;
          pixels[i] = inside ? map + ((n * height + y) * width + column) * ins : zeros.data();
        }
        winograd_input(pixels, ins, from + t * ins, count * ins);
      }
    });
    parallel_for_each(0, kPositions, [&](std::int64_t i) {
      Gemm<float> g;
      g.m = count;
      g.n = outs;
      g.k = ins;
      g.a = from + i * count * ins;
      g.lda = ins;
      g.b = kernels.data<float>() + i * ins * outs;
      g.ldb = outs;
      g.c = product + i * count * outs;
      g.ldc = outs;
      gemm(g);
    });
    parallel_for(0, count, 4, [&](std::int64_t first, std::int64_t last) {
      float* rows[kWinogradOut * kWinogradOut];
      for (std::int64_t t = first; t < last; ++t) {
        const auto [n, top, left] = place(begin + t);
        for (std::int64_t i = 0; i < kWinogradOut * kWinogradOut; ++i) {
          const std::int64_t y = top + i / kWinogradOut, column = left + i % kWinogradOut;
          const bool inside = y < out_height && column < out_width;
          rows[i] = inside ? to + ((n * out_height + y) * out_width + column) * outs : nullptr;
        }
        winograd_output(product + t * outs, count * outs, outs, shift, accumulate, options.relu, rows);
      }
    });
  }
}

}  // namespace usol
