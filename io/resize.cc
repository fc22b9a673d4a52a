// Two passes of weighted sums over rows. The horizontal pass works on blocks of kBlock rows, transposed, so that both
// passes are the same kernel: a sum of rows, each times one weight, over contiguous bytes.
#include "usol/io/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "usol/io/resize.cc"
#include <hwy/foreach_target.h>
// foreach_target must come before highway.h.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace usol::io {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr int kBits = 22;  // fraction bits of the weights: 8 bits of data and 2 of headroom below 32

// out[i] = clip8(sum over t of weights[t] * in[t * stride + i], rounded), i < n.
void sum_rows(const std::uint8_t* in, std::int64_t stride, std::int64_t n, const std::int32_t* weights, int taps,
              std::uint8_t* out) {
  const hn::ScalableTag<std::int32_t> d32;
  const hn::Rebind<std::uint8_t, decltype(d32)> d8;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d32));
  const auto half = hn::Set(d32, 1 << (kBits - 1));
  std::int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    auto sum0 = half, sum1 = half, sum2 = half, sum3 = half;
    const std::uint8_t* row = in + i;
    for (int t = 0; t < taps; ++t, row += stride) {
      const auto weight = hn::Set(d32, weights[t]);
      sum0 = hn::Add(sum0, hn::Mul(weight, hn::PromoteTo(d32, hn::LoadU(d8, row))));
      sum1 = hn::Add(sum1, hn::Mul(weight, hn::PromoteTo(d32, hn::LoadU(d8, row + lanes))));
      sum2 = hn::Add(sum2, hn::Mul(weight, hn::PromoteTo(d32, hn::LoadU(d8, row + 2 * lanes))));
      sum3 = hn::Add(sum3, hn::Mul(weight, hn::PromoteTo(d32, hn::LoadU(d8, row + 3 * lanes))));
    }
    hn::StoreU(hn::DemoteTo(d8, hn::ShiftRight<kBits>(sum0)), d8, out + i);
    hn::StoreU(hn::DemoteTo(d8, hn::ShiftRight<kBits>(sum1)), d8, out + i + lanes);
    hn::StoreU(hn::DemoteTo(d8, hn::ShiftRight<kBits>(sum2)), d8, out + i + 2 * lanes);
    hn::StoreU(hn::DemoteTo(d8, hn::ShiftRight<kBits>(sum3)), d8, out + i + 3 * lanes);
  }
  for (; i + lanes <= n; i += lanes) {
    auto sum = half;
    const std::uint8_t* row = in + i;
    for (int t = 0; t < taps; ++t, row += stride) {
      sum = hn::Add(sum, hn::Mul(hn::Set(d32, weights[t]), hn::PromoteTo(d32, hn::LoadU(d8, row))));
    }
    hn::StoreU(hn::DemoteTo(d8, hn::ShiftRight<kBits>(sum)), d8, out + i);
  }
  for (; i < n; ++i) {
    std::int32_t sum = 1 << (kBits - 1);
    for (int t = 0; t < taps; ++t) sum += weights[t] * in[t * stride + i];
    out[i] = static_cast<std::uint8_t>(std::clamp(sum >> kBits, 0, 255));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace usol::io
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace usol::io {
namespace {

HWY_EXPORT(sum_rows);

constexpr double kPi = 3.14159265358979323846;
constexpr std::int64_t kBlock = 32;  // rows of a transposed block: it stays in the second-level cache

// ---- weights ----

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= kPi;
  return std::sin(x) / x;
}

struct Kernel1d {
  double (*value)(double);
  double support;  // zero outside [-support, support]
};

Kernel1d kernel_of(Filter filter) {
  switch (filter) {
    case Filter::kBilinear:
      return {[](double x) { return std::max(0.0, 1.0 - std::abs(x)); }, 1.0};
    case Filter::kBicubic:
      return {[](double x) {
                constexpr double a = -0.5;
                x = std::abs(x);
                if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
                return x < 2.0 ? (((x - 5) * x + 8) * x - 4) * a : 0.0;
              },
              2.0};
    default:
      return {[](double x) { return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0; }, 3.0};
  }
}

// For each output sample: its first input sample, their number, and their weights (`most` apart).
struct Weights {
  std::vector<std::int64_t> first;
  std::vector<int> taps;
  std::vector<std::int32_t> values;
  std::int64_t most = 0;
};

Weights make_weights(std::int64_t in_size, std::int64_t out_size, Filter filter) {
  const Kernel1d kernel = kernel_of(filter);
  const double scale = static_cast<double>(in_size) / static_cast<double>(out_size), stretch = std::max(scale, 1.0);
  const double support = kernel.support * stretch, inverse_stretch = 1.0 / stretch;
  Weights weights;
  weights.most = static_cast<std::int64_t>(std::ceil(support)) * 2 + 1;
  weights.first.resize(static_cast<std::size_t>(out_size));
  weights.taps.resize(static_cast<std::size_t>(out_size));
  weights.values.resize(static_cast<std::size_t>(out_size * weights.most));
  std::vector<double> exact(static_cast<std::size_t>(weights.most));
  for (std::int64_t i = 0; i < out_size; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const auto first = std::max<std::int64_t>(static_cast<std::int64_t>(center - support + 0.5), 0);
    const auto last = std::min(static_cast<std::int64_t>(center + support + 0.5), in_size);
    const int taps = static_cast<int>(last - first);
    double sum = 0.0;
    for (int t = 0; t < taps; ++t) {
      exact[t] = kernel.value((static_cast<double>(t + first) - center + 0.5) * inverse_stretch);
      sum += exact[t];
    }
    std::int32_t* rounded = weights.values.data() + i * weights.most;
    for (int t = 0; t < taps; ++t) {
      const double weight = (sum != 0.0 ? exact[t] / sum : exact[t]) * (1 << 22);
      rounded[t] = static_cast<std::int32_t>(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
    weights.first[i] = first;
    weights.taps[i] = taps;
  }
  return weights;
}

// ---- transposing bytes ----

using Bytes16 = std::uint8_t __attribute__((vector_size(16)));  // a register of every CPU: no dispatch needed

Bytes16 low_halves(Bytes16 a, Bytes16 b) {  // a0 b0 a1 b1 ... a7 b7
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
Bytes16 high_halves(Bytes16 a, Bytes16 b) {
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

// One 16 x 16 tile: four rounds of interleaving row i with row i + 8.
void transpose_tile(const std::uint8_t* in, std::int64_t in_stride, std::uint8_t* out, std::int64_t out_stride) {
  Bytes16 a[16], b[16];
  for (int i = 0; i < 16; ++i) std::memcpy(&a[i], in + i * in_stride, 16);
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 8; ++i) {
      b[2 * i] = low_halves(a[i], a[i + 8]);
      b[2 * i + 1] = high_halves(a[i], a[i + 8]);
    }
    for (int i = 0; i < 8; ++i) {
      a[2 * i] = low_halves(b[i], b[i + 8]);
      a[2 * i + 1] = high_halves(b[i], b[i + 8]);
    }
  }
  for (int i = 0; i < 16; ++i) std::memcpy(out + i * out_stride, &a[i], 16);
}

// out[column][row] = in[row][column].
void transpose(const std::uint8_t* in, std::int64_t in_stride, std::int64_t rows, std::int64_t columns,
               std::uint8_t* out, std::int64_t out_stride) {
  std::int64_t row = 0;
  for (; row + 16 <= rows; row += 16) {
    std::int64_t column = 0;
    for (; column + 16 <= columns; column += 16) {
      transpose_tile(in + row * in_stride + column, in_stride, out + column * out_stride + row, out_stride);
    }
    for (; column < columns; ++column) {
      for (std::int64_t r = row; r < row + 16; ++r) out[column * out_stride + r] = in[r * in_stride + column];
    }
  }
  for (; row < rows; ++row) {
    for (std::int64_t column = 0; column < columns; ++column) {
      out[column * out_stride + row] = in[row * in_stride + column];
    }
  }
}

// ---- passes over dense [rows, columns, channels] bytes ----

void resize_columns(const std::uint8_t* in, std::uint8_t* out, std::int64_t rows, std::int64_t in_columns,
                    std::int64_t out_columns, std::int64_t channels, Filter filter) {
  const Weights weights = make_weights(in_columns, out_columns, filter);
  const std::int64_t in_bytes = in_columns * channels, out_bytes = out_columns * channels;
  parallel_for(0, (rows + kBlock - 1) / kBlock, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint8_t> in_block(static_cast<std::size_t>(in_bytes * kBlock));
    std::vector<std::uint8_t> out_block(static_cast<std::size_t>(out_bytes * kBlock));
    for (std::int64_t block = begin; block < end; ++block) {
      const std::int64_t row = block * kBlock, height = std::min(kBlock, rows - row);
      const std::int64_t pixel = channels * kBlock;  // bytes of one column in a transposed block
      transpose(in + row * in_bytes, in_bytes, height, in_bytes, in_block.data(), kBlock);
      for (std::int64_t x = 0; x < out_columns; ++x) {
        HWY_DYNAMIC_DISPATCH(sum_rows)
        (in_block.data() + weights.first[x] * pixel, pixel, pixel, weights.values.data() + x * weights.most,
         weights.taps[x], out_block.data() + x * pixel);
      }
      transpose(out_block.data(), kBlock, out_bytes, height, out + row * out_bytes, out_bytes);
    }
  });
}

void resize_rows(const std::uint8_t* in, std::uint8_t* out, std::int64_t in_rows, std::int64_t out_rows,
                 std::int64_t row_bytes, Filter filter) {
  const Weights weights = make_weights(in_rows, out_rows, filter);
  parallel_for(0, out_rows, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t y = begin; y < end; ++y) {
      HWY_DYNAMIC_DISPATCH(sum_rows)
      (in + weights.first[y] * row_bytes, row_bytes, row_bytes, weights.values.data() + y * weights.most,
       weights.taps[y], out + y * row_bytes);
    }
  });
}

// ---- nearest ----

template <int channels>
void pick(const std::uint8_t* in, const std::vector<std::int64_t>& columns, std::uint8_t* out) {
  for (const std::int64_t column : columns) {
    if (column >= 0) std::memcpy(out, in + column * channels, channels);
    out += channels;
  }
}

void resize_nearest(const std::uint8_t* in, std::uint8_t* out, std::int64_t in_rows, std::int64_t in_columns,
                    std::int64_t out_rows, std::int64_t out_columns, std::int64_t channels) {
  const auto rows = nearest_samples(in_rows, out_rows), columns = nearest_samples(in_columns, out_columns);
  const auto pick_row = channels == 1 ? pick<1> : channels == 2 ? pick<2> : channels == 3 ? pick<3> : pick<4>;
  const std::int64_t out_bytes = out_columns * channels;
  parallel_for(0, out_rows, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t y = begin; y < end; ++y) {
      if (y > begin && rows[y] == rows[y - 1]) {
        std::memcpy(out + y * out_bytes, out + (y - 1) * out_bytes, static_cast<std::size_t>(out_bytes));
        continue;
      }
      std::memset(out + y * out_bytes, 0, static_cast<std::size_t>(out_bytes));
      if (rows[y] >= 0) pick_row(in + rows[y] * in_columns * channels, columns, out + y * out_bytes);
    }
  });
}

}  // namespace

// The position is accumulated, not multiplied: Pillow's rounding errors are part of its result.
std::vector<std::int64_t> nearest_samples(std::int64_t in_size, std::int64_t out_size) {
  const double step = static_cast<double>(in_size) / static_cast<double>(out_size);
  double position = step * 0.5;
  std::vector<std::int64_t> samples(static_cast<std::size_t>(out_size));
  for (std::int64_t& sample : samples) {
    sample = static_cast<std::int64_t>(position);
    if (sample >= in_size) sample = -1;
    position += step;
  }
  return samples;
}

Tensor resize(const Tensor& image, std::int64_t height, std::int64_t width, Filter filter, PassOrder order) {
  check(image.defined() && image.is_cpu() && image.dtype() == DType::kU8 && (image.rank() == 2 || image.rank() == 3),
        "resize: expected a CPU u8 image [H, W] or [H, W, C], got {}",
        image.defined() ? fmt::format("{} {} on {}", image.dtype(), image.shape(), image.device())
                        : "an undefined tensor");
  const std::int64_t in_height = image.size(0), in_width = image.size(1);
  const std::int64_t channels = image.rank() == 3 ? image.size(2) : 1;
  constexpr std::int64_t kMost = 1 << 24;
  check(in_height >= 1 && in_width >= 1 && in_height <= kMost && in_width <= kMost && channels >= 1 && channels <= 4,
        "resize: expected sides of 1 to 2^24 and 1 to 4 channels, got shape {}", image.shape());
  check(height >= 1 && width >= 1 && height <= kMost && width <= kMost,
        "resize: expected a target of 1 to 2^24 pixels a side, got {} x {}", height, width);
  if (height == in_height && width == in_width) return image.clone();

  const auto shape = [&](std::int64_t h, std::int64_t w) {
    return image.rank() == 2 ? Shape{h, w} : Shape{h, w, channels};
  };
  const Tensor dense = image.contiguous();
  Tensor resized = Tensor::empty(shape(height, width), DType::kU8);
  const std::uint8_t* in = dense.data<std::uint8_t>();
  std::uint8_t* out = resized.mutable_data<std::uint8_t>();
  const bool vertical_first =
      order == PassOrder::kPillow13 && in_height > height && in_height - height > 2 * (in_width - width);
  if (filter == Filter::kNearest) {
    resize_nearest(in, out, in_height, in_width, height, width, channels);
  } else if (width == in_width) {
    resize_rows(in, out, in_height, height, width * channels, filter);
  } else if (height == in_height) {
    resize_columns(in, out, height, in_width, width, channels, filter);
  } else if (vertical_first) {
    Tensor lowered = Tensor::empty(shape(height, in_width), DType::kU8);
    resize_rows(in, lowered.mutable_data<std::uint8_t>(), in_height, height, in_width * channels, filter);
    resize_columns(lowered.data<std::uint8_t>(), out, height, in_width, width, channels, filter);
  } else {
    Tensor narrowed = Tensor::empty(shape(in_height, width), DType::kU8);
    resize_columns(in, narrowed.mutable_data<std::uint8_t>(), in_height, in_width, width, channels, filter);
    resize_rows(narrowed.data<std::uint8_t>(), out, in_height, height, width * channels, filter);
  }
  return resized;
}

}  // namespace usol::io

#endif  // HWY_ONCE
