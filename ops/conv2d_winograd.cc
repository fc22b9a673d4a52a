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

// G w G^T: [36, C, O]. weight [O, C, 3, 3], or, `turned`, [C, O, 3, 3] with each kernel turned by half a turn: the
// convolution with those is the gradient of the one with the others.
Tensor transformed(const Tensor& weight, bool turned) {
  const std::int64_t outs = weight.size(turned ? 1 : 0), ins = weight.size(turned ? 0 : 1);
  Tensor result = Tensor::empty({kWinogradPositions, ins, outs}, DType::kF32);
  const float* from = weight.data<float>();
  float* to = result.mutable_data<float>();
  const auto g = winograd_kernel_matrix();
  parallel_for(0, ins, 4, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t c = first; c < last; ++c)
      for (std::int64_t o = 0; o < outs; o += kWinogradChannels) {
        double w[9][kWinogradChannels];
        for (std::int64_t lane = 0; lane < kWinogradChannels; ++lane) {
          const float* kernel = from + (turned ? c * outs + o + lane : (o + lane) * ins + c) * 9;
          for (std::size_t k = 0; k < 9; ++k) w[k][lane] = double{kernel[turned ? 8 - k : k]};
        }
        double rows[kWinogradTile][3][kWinogradChannels];
        for (std::size_t i = 0; i < kWinogradTile; ++i)
          for (std::size_t x = 0; x < 3; ++x)
            for (std::size_t l = 0; l < kWinogradChannels; ++l)
              rows[i][x][l] = g[i][0] * w[x][l] + g[i][1] * w[3 + x][l] + g[i][2] * w[6 + x][l];
        for (std::size_t i = 0; i < kWinogradTile; ++i)
          for (std::size_t j = 0; j < kWinogradTile; ++j) {
            float* place = to + (static_cast<std::int64_t>(i * kWinogradTile + j) * ins + c) * outs + o;
            for (std::size_t l = 0; l < kWinogradChannels; ++l)
              place[l] =
                  static_cast<float>(rows[i][0][l] * g[j][0] + rows[i][1][l] * g[j][1] + rows[i][2][l] * g[j][2]);
          }
      }
  });
  return result;
}

// conv2d_kernel's contract, given G w G^T.
void convolve(const Tensor& x, const Tensor& kernels, const Tensor& bias, const Conv2dOptions& options, bool accumulate,
              Tensor& out) {
  const std::int64_t ins = x.size(1), outs = out.size(1);
  const WinogradTiles tiles(out.shape());
  // As many tiles at once as leave the transformed maps in the last cache.
  constexpr std::int64_t kFloats = std::int64_t{1} << 20;
  const std::int64_t most =
      std::min(tiles.count(), std::max<std::int64_t>(16, kFloats / (kWinogradPositions * std::max(ins, outs))));
  Tensor inputs = Tensor::empty({kWinogradPositions * most * ins});
  Tensor products = Tensor::empty({kWinogradPositions * most * outs});
  float* from = inputs.mutable_data<float>();
  float* product = products.mutable_data<float>();
  const float* shift = bias.defined() ? bias.data<float>() : nullptr;
  out.storage()->bump_version();
  const WinogradMap<const float> map{reinterpret_cast<const float*>(x.raw()), x.size(2), x.size(3), ins};
  const WinogradMap<float> result{reinterpret_cast<float*>(out.raw()), out.size(2), out.size(3), outs};
  const std::vector<float> zeros(static_cast<std::size_t>(ins));
  for (std::int64_t begin = 0; begin < tiles.count(); begin += most) {
    const std::int64_t count = std::min(most, tiles.count() - begin);
    parallel_for(0, count, 4, [&](std::int64_t first, std::int64_t last) {
      const float* pixels[kWinogradPositions];
      for (std::int64_t t = first; t < last; ++t) {
        const auto [n, top, left] = tiles.place(begin + t);
        map.pixels(n, top - options.padding[0], left - options.padding[1], kWinogradTile, zeros.data(), pixels);
        winograd_input(pixels, ins, from + t * ins, count * ins);
      }
    });
    parallel_for_each(0, kWinogradPositions, [&](std::int64_t i) {
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
        const auto [n, top, left] = tiles.place(begin + t);
        result.pixels(n, top, left, kWinogradOut, nullptr, rows);
        winograd_output(product + t * outs, count * outs, outs, shift, accumulate, options.relu, rows);
      }
    });
  }
}

}  // namespace

std::array<std::array<double, 3>, kWinogradTile> winograd_kernel_matrix() {
  const double a2 = double{kNear} * kNear, b2 = double{kFar} * kFar;
  const double near = 1 / (2 * a2 * (a2 - b2)), far = 1 / (2 * b2 * (b2 - a2));
  return {{{1 / (a2 * b2), 0, 0},
           {near, near * kNear, near * a2},
           {near, -near * kNear, near * a2},
           {far, far * kFar, far * b2},
           {far, -far * kFar, far * b2},
           {0, 0, 1}}};
}

bool winograd_fits(const Tensor& x, const Tensor& weight, const Conv2dOptions& o, const Tensor& out) {
  constexpr std::array<std::int64_t, 2> kOne{1, 1};
  constexpr std::int64_t kLeastChannels = 64, kLeastTiles = 32;
  const std::int64_t ins = weight.size(1), outs = weight.size(0);
  return x.dtype() == DType::kF32 && weight.size(2) == 3 && weight.size(3) == 3 && o.stride == kOne &&
         o.dilation == kOne && o.groups == 1 && ins % kWinogradChannels == 0 && outs % kWinogradChannels == 0 &&
         std::min(ins, outs) >= kLeastChannels && WinogradTiles(out.shape()).count() >= kLeastTiles;
}

void conv2d_winograd(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
                     bool accumulate, Tensor& out) {
  static auto& cache = *new WeightCache<Tensor>;  // outlives every tensor
  const Shape shape{kWinogradPositions, x.size(1), out.size(1)};
  const Tensor kernels = cache.find_or_make(
      weight, [&](const Tensor& made) { return made.shape() == shape; }, [&] { return transformed(weight, false); });
  convolve(x, kernels, bias, options, accumulate, out);
}

void conv2d_winograd_grad_input(const Tensor& grad, const Tensor& weight, const Conv2dOptions& options, Tensor& out) {
  Conv2dOptions turned;  // a pixel's gradient has the results around it
  turned.padding = {2 - options.padding[0], 2 - options.padding[1]};
  convolve(grad, transformed(weight, true), {}, turned, false, out);
}

}  // namespace usol
