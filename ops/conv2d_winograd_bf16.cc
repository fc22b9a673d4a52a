// A task is a block of tiles of 4 x 4 pixels, 2 x 2 results each. Its transformed map stays in the L2 cache while the
// panels of the transformed weight, 64 outputs each, go past it; the sixteen products of six tiles are transformed back
// and rounded while their sums are in the L1 cache.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "usol/ops/conv2d_winograd_bf16.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which compiles this file once per instruction set.
#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <vector>

#include "usol/autograd/grad_mode.h"
#include "usol/ops/bf16_pairs.h"
#include "usol/ops/conv2d_winograd_bf16.h"
#include "usol/ops/weight_cache.h"
#include "usol/tensor/bf16-inl.h"
#include "usol/tensor/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace usol {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
constexpr std::size_t kMost = hn::MaxLanes(D());

// B^T d B. pixels: 16 rows of `channels`, y before x; to[position * stride + channel].
void input_tile(const bf16* const* pixels, std::int64_t channels, bf16* to, std::int64_t stride) {
  const D d;
  for (std::int64_t c = 0; c < channels; c += static_cast<std::int64_t>(hn::Lanes(d))) {
    HWY_ALIGN float columns[4][4][kMost];
    for (int x = 0; x < 4; ++x) {
      const auto d0 = load(d, pixels[x] + c), d1 = load(d, pixels[4 + x] + c);
      const auto d2 = load(d, pixels[8 + x] + c), d3 = load(d, pixels[12 + x] + c);
      hn::Store(hn::Sub(d0, d2), d, columns[0][x]);
      hn::Store(hn::Add(d1, d2), d, columns[1][x]);
      hn::Store(hn::Sub(d2, d1), d, columns[2][x]);
      hn::Store(hn::Sub(d1, d3), d, columns[3][x]);
    }
    for (int y = 0; y < 4; ++y) {
      const auto r0 = hn::Load(d, columns[y][0]), r1 = hn::Load(d, columns[y][1]);
      const auto r2 = hn::Load(d, columns[y][2]), r3 = hn::Load(d, columns[y][3]);
      bf16* line = to + 4 * y * stride + c;
      store(d, hn::Sub(r0, r2), line);
      store(d, hn::Add(r1, r2), line + stride);
      store(d, hn::Sub(r2, r1), line + 2 * stride);
      store(d, hn::Sub(r1, r3), line + 3 * stride);
    }
  }
}

// y = [relu] (A^T m A + bias + (accumulate ? y : 0)) for Bf16Products::kColumns outputs. m: 16 rows of these, `stride`
// apart; rows: the four results, y before x, null for those outside the map.
void output_tile(const float* m, std::int64_t stride, const float* bias, bool accumulate, bool relu,
                 bf16* const* rows) {
  const D d;
  for (std::int64_t c = 0; c < Bf16Products::kColumns; c += static_cast<std::int64_t>(hn::Lanes(d))) {
    HWY_ALIGN float columns[2][4][kMost];
    for (int x = 0; x < 4; ++x) {
      const auto at = [&](int y) HWY_ATTR { return hn::LoadU(d, m + (4 * y + x) * stride + c); };
      const auto m1 = at(1), m2 = at(2);
      hn::Store(hn::Add(at(0), hn::Add(m1, m2)), d, columns[0][x]);
      hn::Store(hn::Sub(hn::Sub(m1, m2), at(3)), d, columns[1][x]);
    }
    const auto shift = hn::LoadU(d, bias + c);
    const auto put = [&](hn::Vec<D> sum, bf16* to) HWY_ATTR {
      if (!to) return;
      sum = hn::Add(sum, shift);
      if (accumulate) sum = hn::Add(sum, load(d, to + c));
      store(d, relu ? hn::Max(sum, hn::Zero(d)) : sum, to + c);
    };
    for (int y = 0; y < 2; ++y) {
      const auto r1 = hn::Load(d, columns[y][1]), r2 = hn::Load(d, columns[y][2]);
      put(hn::Add(hn::Load(d, columns[y][0]), hn::Add(r1, r2)), rows[2 * y]);
      put(hn::Sub(hn::Sub(r1, r2), hn::Load(d, columns[y][3])), rows[2 * y + 1]);
    }
  }
}

// A dy A^T. pixels: 4 rows of `channels`, y before x; to[position * stride + channel].
void output_grad_tile(const bf16* const* pixels, std::int64_t channels, bf16* to, std::int64_t stride) {
  const D d;
  for (std::int64_t c = 0; c < channels; c += static_cast<std::int64_t>(hn::Lanes(d))) {
    const auto zero = hn::Zero(d);
    const auto put = [&](int y, hn::Vec<D> left, hn::Vec<D> right) HWY_ATTR {
      bf16* line = to + 4 * y * stride + c;
      store(d, left, line);
      store(d, hn::Add(left, right), line + stride);
      store(d, hn::Sub(left, right), line + 2 * stride);
      store(d, hn::Sub(zero, right), line + 3 * stride);
    };
    const auto d0 = load(d, pixels[0] + c), d1 = load(d, pixels[1] + c);
    const auto d2 = load(d, pixels[2] + c), d3 = load(d, pixels[3] + c);
    put(0, d0, d1);
    put(1, hn::Add(d0, d2), hn::Add(d1, d3));
    put(2, hn::Sub(d0, d2), hn::Sub(d1, d3));
    put(3, hn::Sub(zero, d2), hn::Sub(zero, d3));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace usol
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace usol {

HWY_EXPORT(input_tile);
HWY_EXPORT(output_tile);
HWY_EXPORT(output_grad_tile);

namespace {

constexpr std::int64_t kPositions = 16, kTileRows = Bf16Products::kRows, kColumns = Bf16Products::kColumns;
// Of a task: their transformed map (196 kB of 256 channels) is in the L2 cache beside a panel of weights (512 kB).
constexpr std::int64_t kBlockTiles = 4 * kTileRows;

std::int64_t tiles_along(std::int64_t size) { return (size + 1) / 2; }
std::int64_t tiles_of(const Tensor& out) { return out.size(0) * tiles_along(out.size(2)) * tiles_along(out.size(3)); }

// A map with its channels last in memory.
struct Map {
  const bf16* data;
  std::int64_t height, width, channels;

  explicit Map(const Tensor& t)
      : data(reinterpret_cast<const bf16*>(t.raw())), height(t.size(2)), width(t.size(3)), channels(t.size(1)) {}
  // The `side` x `side` pixels from (top, left) on, y before x; `outside` for those that the map does not have.
  void pixels(std::int64_t image, std::int64_t top, std::int64_t left, int side, const bf16* outside,
              const bf16** to) const {
    for (std::int64_t y = top; y < top + side; ++y)
      for (std::int64_t x = left; x < left + side; ++x) {
        const bool inside = y >= 0 && y < height && x >= 0 && x < width;
        *to++ = inside ? data + ((image * height + y) * width + x) * channels : outside;
      }
  }
};

// G: the rows of F(2, 3).
constexpr std::array<std::array<float, 3>, 4> kKernel{{{1, 0, 0}, {0.5f, 0.5f, 0.5f}, {0.5f, -0.5f, 0.5f}, {0, 0, 1}}};

// weight [O, C, 3, 3] -> G w G^T as words of Bf16Tile::b: [O / kColumns, 16, C / 2, kColumns]. `turned`: weight is
// [C, O, 3, 3], and each kernel is turned by half a turn: the convolution with those is the gradient of the other.
Tensor transformed(const Tensor& weight, bool turned) {
  const std::int64_t outs = weight.size(turned ? 1 : 0), ins = weight.size(turned ? 0 : 1), panels = outs / kColumns;
  Tensor words = Tensor::empty({panels, kPositions, ins / 2, kColumns}, DType::kI32);
  const bf16* from = weight.data<bf16>();
  auto* to = reinterpret_cast<std::uint32_t*>(words.mutable_data<std::int32_t>());
  parallel_for_each(0, panels, [&](std::int64_t panel) {
    std::vector<bf16> rows(static_cast<std::size_t>(kPositions * kColumns * ins));  // [16, kColumns, C]
    for (std::int64_t o = 0; o < kColumns; ++o)
      for (std::int64_t c = 0; c < ins; ++c) {
        const std::int64_t out = panel * kColumns + o;
        const bf16* kernel = from + (turned ? c * outs + out : out * ins + c) * 9;
        float w[9];
        for (std::size_t k = 0; k < 9; ++k) w[k] = static_cast<float>(kernel[turned ? 8 - k : k]);
        for (std::size_t i = 0; i < 4; ++i) {
          float line[3];
          for (std::size_t x = 0; x < 3; ++x)
            line[x] = kKernel[i][0] * w[x] + kKernel[i][1] * w[3 + x] + kKernel[i][2] * w[6 + x];
          for (std::size_t j = 0; j < 4; ++j) {
            const float sum = kKernel[j][0] * line[0] + kKernel[j][1] * line[1] + kKernel[j][2] * line[2];
            const auto position = static_cast<std::int64_t>(4 * i + j);
            rows[static_cast<std::size_t>((position * kColumns + o) * ins + c)] = bf16(sum);
          }
        }
      }
    for (std::int64_t p = 0; p < kPositions; ++p)
      pack_bf16_rows(rows.data() + p * kColumns * ins, ins, kColumns, ins,
                     to + (panel * kPositions + p) * (ins / 2) * kColumns);
  });
  return words;
}

// conv2d_kernel's contract, given the transformed weight.
void convolve(const Bf16Products& products, const Tensor& x, const Tensor& kernels, const Tensor& bias,
              const Conv2dOptions& options, bool accumulate, Tensor& out) {
  const std::int64_t ins = x.size(1), outs = out.size(1);
  const std::int64_t panels = outs / kColumns, matrix = ins / 2 * kColumns;
  const auto* words = reinterpret_cast<const std::uint32_t*>(kernels.data<std::int32_t>());
  std::vector<float> shift(static_cast<std::size_t>(outs), 0.0f);
  if (bias.defined()) std::copy_n(bias.data<bf16>(), outs, shift.begin());
  const std::vector<bf16> zeros(static_cast<std::size_t>(ins), bf16(0.0f));
  const Map map(x);
  out.storage()->bump_version();
  auto* to = reinterpret_cast<bf16*>(out.raw());
  const std::int64_t out_height = out.size(2), out_width = out.size(3);
  const std::int64_t across = tiles_along(out_width), per_map = across * tiles_along(out_height);
  const std::int64_t tiles = tiles_of(out);
  // Where tile t's results begin: map, row, column.
  const auto place = [&](std::int64_t t) { return std::array{t / per_map, t % per_map / across * 2, t % across * 2}; };
  parallel_for_each(0, (tiles + kBlockTiles - 1) / kBlockTiles, [&](std::int64_t block) {
    alignas(64) float sums[kPositions * kTileRows * kColumns];
    thread_local std::vector<bf16> inputs;  // [16, kBlockTiles, C]
    inputs.resize(static_cast<std::size_t>(kPositions * kBlockTiles * ins));
    const std::int64_t begin = block * kBlockTiles, count = std::min(kBlockTiles, tiles - begin);
    for (std::int64_t t = 0; t < count; ++t) {
      const bf16* pixels[kPositions];
      const auto [n, top, left] = place(begin + t);
      map.pixels(n, top - options.padding[0], left - options.padding[1], 4, zeros.data(), pixels);
      HWY_DYNAMIC_DISPATCH(input_tile)(pixels, ins, inputs.data() + t * ins, kBlockTiles * ins);
    }
    for (std::int64_t panel = 0; panel < panels; ++panel)
      for (std::int64_t first = 0; first < count; first += kTileRows) {
        const std::int64_t some = std::min(kTileRows, count - first);
        for (std::int64_t p = 0; p < kPositions; ++p)
          products.multiply({inputs.data() + (p * kBlockTiles + first) * ins, ins,
                             words + (panel * kPositions + p) * matrix, kColumns, sums + p * kTileRows * kColumns,
                             kColumns, ins / 2, static_cast<int>(some), false});
        for (std::int64_t t = 0; t < some; ++t) {
          bf16* rows[4];
          const auto [n, top, left] = place(begin + first + t);
          for (std::int64_t i = 0; i < 4; ++i) {
            const std::int64_t y = top + i / 2, column = left + i % 2;
            const bool inside = y < out_height && column < out_width;
            rows[i] = inside ? to + ((n * out_height + y) * out_width + column) * outs + panel * kColumns : nullptr;
          }
          HWY_DYNAMIC_DISPATCH(output_tile)
          (sums + t * kColumns, kTileRows * kColumns, shift.data() + panel * kColumns, accumulate, options.relu, rows);
        }
      }
  });
}

// G^T s G: sums [16, C / kColumns, O, kColumns] -> out [O, C, 3, 3].
void transform_back(const float* sums, Tensor& out) {
  const std::int64_t outs = out.size(0), ins = out.size(1), panels = ins / kColumns;
  bf16* to = out.mutable_data<bf16>();
  parallel_for(0, outs, 4, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t o = first; o < last; ++o)
      for (std::int64_t panel = 0; panel < panels; ++panel) {
        float rows[3][4][kColumns] = {};
        for (std::size_t i = 0; i < 4; ++i)
          for (std::size_t j = 0; j < 4; ++j) {
            const float* s = sums + ((static_cast<std::int64_t>(4 * i + j) * panels + panel) * outs + o) * kColumns;
            for (std::size_t y = 0; y < 3; ++y)
              for (std::size_t l = 0; l < kColumns; ++l) rows[y][j][l] += kKernel[i][y] * s[l];
          }
        for (std::size_t y = 0; y < 3; ++y)
          for (std::size_t x = 0; x < 3; ++x)
            for (std::size_t l = 0; l < kColumns; ++l) {
              float sum = 0;
              for (std::size_t j = 0; j < 4; ++j) sum += rows[y][j][l] * kKernel[j][x];
              to[((o * ins + panel * kColumns) + static_cast<std::int64_t>(l)) * 9 +
                 static_cast<std::int64_t>(3 * y + x)] = bf16(sum);
            }
      }
  });
}

}  // namespace

bool winograd_bf16_fits(const Tensor& x, const Tensor& weight, const Conv2dOptions& o, const Tensor& out) {
  constexpr std::array<std::int64_t, 2> kOne{1, 1};
  constexpr std::int64_t kLeastChannels = 128, kLeastTiles = 64;
  const std::int64_t ins = weight.size(1), outs = weight.size(0);
  return x.dtype() == DType::kBF16 && weight.size(2) == 3 && weight.size(3) == 3 && o.stride == kOne &&
         o.dilation == kOne && o.groups == 1 && ins % 16 == 0 && outs % kColumns == 0 &&
         std::min(ins, outs) >= kLeastChannels && tiles_of(out) >= kLeastTiles;
}

void conv2d_winograd_bf16(const Bf16Products& products, const Tensor& x, const Tensor& weight, const Tensor& bias,
                          const Conv2dOptions& options, bool accumulate, Tensor& out) {
  // In training it changes after every step.
  if (grad_enabled()) return convolve(products, x, transformed(weight, false), bias, options, accumulate, out);
  static auto& cache = *new WeightCache<Tensor>;  // outlives every tensor
  const Shape shape{out.size(1) / kColumns, kPositions, x.size(1) / 2, kColumns};
  const Tensor kernels = cache.find_or_make(
      weight, [&](const Tensor& made) { return made.shape() == shape; }, [&] { return transformed(weight, false); });
  convolve(products, x, kernels, bias, options, accumulate, out);
}

bool winograd_bf16_grad_fits(const Tensor& x, const Tensor& weight, const Tensor& y, const Conv2dOptions& options) {
  return winograd_bf16_fits(x, weight, options, y) && x.size(1) % kColumns == 0 &&
         std::max(options.padding[0], options.padding[1]) <= 2;
}

void conv2d_winograd_bf16_grad_input(const Bf16Products& products, const Tensor& grad, const Tensor& weight,
                                     const Conv2dOptions& options, Tensor& out) {
  Conv2dOptions turned;  // a pixel's gradient has the results around it
  turned.padding = {2 - options.padding[0], 2 - options.padding[1]};
  convolve(products, grad, transformed(weight, true), {}, turned, false, out);
}

void conv2d_winograd_bf16_grad_weight(const Bf16Products& products, const Tensor& x, const Tensor& grad,
                                      const Conv2dOptions& options, Tensor& out) {
  const std::int64_t ins = x.size(1), outs = grad.size(1), panels = ins / kColumns, tiles = tiles_of(grad);
  // As many pairs of tiles at once as leave both transformed maps in the last cache.
  constexpr std::int64_t kWords = std::int64_t{1} << 21;
  const std::int64_t most = std::clamp<std::int64_t>(kWords / (kPositions * (ins + outs)), 32, (tiles + 1) / 2);
  const std::int64_t stride = outs + 16;  // not a power of two, so that a column spreads over the cache
  Tensor inputs = Tensor::empty({kPositions * panels, most, kColumns}, DType::kI32);
  Tensor grads = Tensor::empty({kPositions, most, stride}, DType::kI32);
  Tensor sums = Tensor::empty({kPositions * panels, outs, kColumns});
  auto* const of_inputs = reinterpret_cast<std::uint32_t*>(inputs.mutable_data<std::int32_t>());
  auto* const of_grads = reinterpret_cast<std::uint32_t*>(grads.mutable_data<std::int32_t>());
  float* const sum = sums.mutable_data<float>();
  const Map map(x), results(grad);
  const std::vector<bf16> zeros(static_cast<std::size_t>(std::max(ins, outs)), bf16(0.0f));
  const std::int64_t across = tiles_along(grad.size(3)), per_map = across * tiles_along(grad.size(2));
  for (std::int64_t begin = 0; begin < tiles; begin += 2 * most) {
    const std::int64_t pairs = std::min(most, (tiles - begin + 1) / 2);
    parallel_for(0, pairs, 4, [&](std::int64_t first, std::int64_t last) {
      std::vector<bf16> room(static_cast<std::size_t>(2 * kPositions * std::max(ins, outs)));
      const bf16* pixels[kPositions];
      // The transforms of both tiles of a pair lie in `room`: [2, 16, channels].
      const auto pack = [&](std::int64_t position, std::int64_t channels, std::int64_t from, std::int64_t count,
                            std::uint32_t* to) {
        const bf16* rows[2] = {room.data() + position * channels + from,
                               room.data() + (kPositions + position) * channels + from};
        pack_bf16_pairs(rows, 1, count, to, 0);
      };
      for (std::int64_t pair = first; pair < last; ++pair) {
        const auto of_both = [&](std::int64_t channels, auto&& transform) {
          for (std::int64_t i = 0; i < 2; ++i) {
            const std::int64_t t = begin + 2 * pair + i;
            bf16* const to = room.data() + i * kPositions * channels;
            if (t < tiles)
              transform(t / per_map, t % per_map / across * 2, t % across * 2, to);
            else
              std::fill_n(to, kPositions * channels, bf16(0.0f));
          }
        };
        of_both(ins, [&](std::int64_t n, std::int64_t top, std::int64_t left, bf16* to) {
          map.pixels(n, top - options.padding[0], left - options.padding[1], 4, zeros.data(), pixels);
          HWY_DYNAMIC_DISPATCH(input_tile)(pixels, ins, to, ins);
        });
        for (std::int64_t p = 0; p < kPositions; ++p)
          for (std::int64_t panel = 0; panel < panels; ++panel)
            pack(p, ins, panel * kColumns, kColumns, of_inputs + ((p * panels + panel) * most + pair) * kColumns);
        of_both(outs, [&](std::int64_t n, std::int64_t top, std::int64_t left, bf16* to) {
          results.pixels(n, top, left, 2, zeros.data(), pixels);
          HWY_DYNAMIC_DISPATCH(output_grad_tile)(pixels, outs, to, outs);
        });
        for (std::int64_t p = 0; p < kPositions; ++p) pack(p, outs, 0, outs, of_grads + (p * most + pair) * stride);
      }
    });
    parallel_for_each(0, kPositions * panels, [&](std::int64_t task) {
      const std::uint32_t* a = of_grads + task / panels * most * stride;
      for (std::int64_t o = 0; o < outs; o += kTileRows)
        products.multiply({reinterpret_cast<const bf16*>(a + o), 2, of_inputs + task * most * kColumns, kColumns,
                           sum + (task * outs + o) * kColumns, kColumns, pairs,
                           static_cast<int>(std::min(kTileRows, outs - o)), begin > 0, 2 * stride});
    });
  }
  transform_back(sum, out);
}

}  // namespace usol
#endif
