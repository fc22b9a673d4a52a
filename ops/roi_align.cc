#include "usol/ops/roi_align.h"

#include <algorithm>
#include <limits>
#include <type_traits>
#include <vector>

#include "usol/autograd/tape.h"
#include "usol/ops/compare.h"
#include "usol/ops/roi_align_math.h"
#include "usol/ops/weighted_rows.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol {

constinit Kernel<void(const Tensor&, const Tensor&, const Tensor&, double, const RoiAlignOptions&, Tensor&)>
    roi_align_kernel{"roi_align"};
constinit Kernel<void(const Tensor&, const Tensor&, const Tensor&, double, const RoiAlignOptions&, Tensor&)>
    roi_align_grad_kernel{"roi_align_grad"};

namespace {

// [N, C, H, W] <-> [N, H, W, C], views.
Tensor channels_to_back(const Tensor& t) { return t.permute({0, 2, 3, 1}); }
Tensor channels_to_front(const Tensor& t) { return t.permute({0, 3, 1, 2}); }

// rows[l]: the boxes of level l.
Tensor pool(const std::vector<Tensor>& levels, const std::vector<double>& scales, const Tensor& rois,
            const std::vector<Tensor>& rows, const RoiAlignOptions& options) {
  const DType dtype = levels[0].dtype();
  const Device device = levels[0].device();
  const std::int64_t boxes = rois.size(0), c = levels[0].size(1), h = options.height, w = options.width;
  const Tensor dense = rois.detach().contiguous();
  Tensor out = options.channels_last ? channels_to_front(Tensor::empty({boxes, h, w, c}, dtype, device))
                                     : Tensor::empty({boxes, c, h, w}, dtype, device);
  if (out.numel() > 0) {
    for (std::size_t l = 0; l < levels.size(); ++l)
      if (rows[l].numel() > 0)
        roi_align_kernel(device, channels_to_back(levels[l].detach()).contiguous(), dense, rows[l], scales[l], options,
                         out);
  }
  std::vector<Shape> shapes;
  for (const Tensor& level : levels) shapes.push_back(level.shape());
  return record("roi_align", levels, out, [=](const Tensor& grad, const Needs& needs) {
    std::vector<Tensor> grads(shapes.size());
    for (std::size_t l = 0; l < shapes.size(); ++l) {
      if (!needs[l]) continue;
      const DType sum_type = dtype == DType::kF64 ? DType::kF64 : DType::kF32;
      Tensor sums = Tensor::zeros({shapes[l][0], shapes[l][2], shapes[l][3], shapes[l][1]}, sum_type, device);
      if (rows[l].numel() > 0 && sums.numel() > 0)
        roi_align_grad_kernel(device, grad, dense, rows[l], scales[l], options, sums);
      grads[l] = channels_to_front(sums.to(dtype));  // stays channels last
    }
    return grads;
  });
}

void check_arguments(const std::vector<Tensor>& levels, const std::vector<double>& scales, const Tensor& rois,
                     const RoiAlignOptions& options) {
  check(!levels.empty() && levels.size() == scales.size(), "roi_align: expected a scale per level, got {} and {}",
        levels.size(), scales.size());
  const Tensor& first = levels[0];
  for (const Tensor& level : levels)
    check(level.rank() == 4 && level.size(0) == first.size(0) && level.size(1) == first.size(1) && level.size(2) > 0 &&
              level.size(3) > 0 && level.dtype() == first.dtype() && level.device() == first.device() &&
              is_floating(level.dtype()),
          "roi_align: expected floating features [N, C, H, W] of one N, C, dtype and device, got {} {} and {} {}",
          first.dtype(), first.shape(), level.dtype(), level.shape());
  check(rois.rank() == 2 && rois.size(1) == 5, "roi_align: expected rois [R, 5], got {}", rois.shape());
  const DType roi_type = first.dtype() == DType::kF64 ? DType::kF64 : DType::kF32;
  check(rois.dtype() == roi_type && rois.device() == first.device(),
        "roi_align: expected rois of {} on {} with features of {}, got {} on {}", roi_type, first.device(),
        first.dtype(), rois.dtype(), rois.device());
  check(options.height > 0 && options.width > 0 && options.sampling_ratio >= 0,
        "roi_align: expected at least one bin and a sampling ratio >= 0, got {} x {} bins, ratio {}", options.height,
        options.width, options.sampling_ratio);
}

}  // namespace

Tensor roi_align(const Tensor& features, const Tensor& rois, double scale, const RoiAlignOptions& options) {
  check_arguments({features}, {scale}, rois, options);
  return pool({features}, {scale}, rois, {Tensor::arange(rois.size(0)).to(rois.device())}, options);
}

Tensor roi_align(const std::vector<Tensor>& levels, const std::vector<double>& scales, const Tensor& rois,
                 const Tensor& level, const RoiAlignOptions& options) {
  check_arguments(levels, scales, rois, options);
  check(level.rank() == 1 && level.dtype() == DType::kI64 && level.size(0) == rois.size(0) &&
            level.device() == rois.device(),
        "roi_align: expected a level (i64 [{}]) per box on {}, got {} {}", rois.size(0), rois.device(), level.dtype(),
        level.shape());
  std::vector<Tensor> rows;
  std::int64_t found = 0;
  for (std::size_t l = 0; l < levels.size(); ++l) {
    rows.push_back(nonzero(equal(level, static_cast<double>(l))));
    found += rows.back().numel();
  }
  check(found == rois.size(0), "roi_align: {} boxes have a level outside [0, {})", rois.size(0) - found, levels.size());
  return pool(levels, scales, rois, rows, options);
}

namespace {

// One bin along one axis: the cells from `first` on and their weights.
template <class A>
struct Bin {
  std::int64_t first = 0, count = 0, weights = 0;  // weights: where they begin
};

// A box's bins along both axes.
template <class A>
class Window {
 public:
  Window(const A* roi, double scale, const RoiAlignOptions& options, std::int64_t cells_y, std::int64_t cells_x) {
    const auto axis = [&](int low, std::int64_t bins) {
      return roi_axis<A>(roi[low], roi[low + 2], static_cast<A>(scale), bins, options.sampling_ratio, options.aligned);
    };
    RoiAxis<A> vertical = axis(2, options.height), horizontal = axis(1, options.width);
    vertical.finite = horizontal.finite = vertical.finite && horizontal.finite;
    rows = bins_of(vertical, options.height, cells_y);
    columns = bins_of(horizontal, options.width, cells_x);
    std::int64_t end = 0;
    first_column = cells_x;
    for (const Bin<A>& bin : columns) {
      if (bin.count == 0) continue;
      first_column = std::min(first_column, bin.first);
      end = std::max(end, bin.first + bin.count);
    }
    column_count = std::max<std::int64_t>(0, end - first_column);
  }
  const A* weights(const Bin<A>& bin) const { return weights_.data() + bin.weights; }

  std::vector<Bin<A>> rows, columns;
  std::int64_t first_column, column_count;  // what the columns' bins touch

 private:
  // Joins the samples of each bin into one weight per cell.
  std::vector<Bin<A>> bins_of(const RoiAxis<A>& axis, std::int64_t bins, std::int64_t cells) {
    std::vector<Bin<A>> result(static_cast<std::size_t>(bins));
    const A share = axis.grid > 0 ? A(1) / static_cast<A>(axis.grid) : A(0);
    for (std::int64_t b = 0; b < bins; ++b) {
      Bin<A>& bin = result[static_cast<std::size_t>(b)];
      const std::size_t start = weights_.size();
      bin.weights = static_cast<std::int64_t>(start);
      if (!axis.finite) weights_.push_back(std::numeric_limits<A>::quiet_NaN());
      for (std::int64_t s = 0; axis.finite && s < axis.grid; ++s) {
        const RoiTap<A> tap = roi_tap(axis, b, s, cells);
        if (tap.low_weight == 0 && tap.high_weight == 0) continue;
        if (weights_.size() == start) bin.first = tap.low;
        // Samples go up, or down for a box whose sides are swapped.
        if (tap.low < bin.first) {
          weights_.insert(weights_.begin() + bin.weights, static_cast<std::size_t>(bin.first - tap.low), A(0));
          bin.first = tap.low;
        }
        const auto low = start + static_cast<std::size_t>(tap.low - bin.first);
        const auto high = start + static_cast<std::size_t>(tap.high - bin.first);
        weights_.resize(std::max(weights_.size(), high + 1));
        weights_[low] += share * tap.low_weight;
        weights_[high] += share * tap.high_weight;
      }
      bin.count = static_cast<std::int64_t>(weights_.size() - start);
    }
    return result;
  }

  std::vector<A> weights_;
};

// The plain loops, for f64, beside those of ops/weighted_rows.h for f32.
using usol::weighted_add;
using usol::weighted_sum;
void weighted_sum(const double* weights, std::int64_t count, const double* rows, std::int64_t stride, std::int64_t n,
                  double* to) {
  for (std::int64_t c = 0; c < n; ++c) {
    to[c] = 0;
    for (std::int64_t k = 0; k < count; ++k) to[c] += weights[k] * rows[k * stride + c];
  }
}
void weighted_add(double weight, const double* row, std::int64_t n, double* to) {
  for (std::int64_t c = 0; c < n; ++c) to[c] += weight * row[c];
}

template <class A>
std::int64_t image_of(const Tensor& rois, std::int64_t row, std::int64_t images) {
  const A image = rois.data<A>()[5 * row];
  check(image >= 0 && image < static_cast<A>(images), "roi_align: box {} is of image {}, but there are {}", row, image,
        images);
  return static_cast<std::int64_t>(image);
}

// Averages are products of an average down the columns and one along the rows. T: of the map, which is A or bf16.
template <class T, class A>
void pool_box(const T* map, std::int64_t map_width, std::int64_t channels, const Window<A>& window, A* columns,
              A* bins) {
  for (const Bin<A>& row : window.rows) {
    const T* top = map + (row.first * map_width + window.first_column) * channels;
    weighted_sum(window.weights(row), row.count, top, map_width * channels, window.column_count * channels, columns);
    for (const Bin<A>& column : window.columns) {
      const A* left = columns + (column.count > 0 ? column.first - window.first_column : 0) * channels;
      weighted_sum(window.weights(column), column.count, left, channels, channels, bins);
      bins += channels;
    }
  }
}

// A box's bins between the orders [P, Q, C] and [C, P, Q]: a few channels at a time, so that both stay in the cache.
struct Block {
  std::int64_t channels, bins_y, bins_x;

  /// body(first channel, channels, p, q).
  template <class F>
  void each(F&& body) const {
    constexpr std::int64_t kAtOnce = 16;
    for (std::int64_t c = 0; c < channels; c += kAtOnce)
      for (std::int64_t p = 0; p < bins_y; ++p)
        for (std::int64_t q = 0; q < bins_x; ++q) body(c, std::min(kAtOnce, channels - c), p, q);
  }
};

// A box's bins [P, Q, C] to its place in the result, whose order `strides` tells: by rows where all channels of a bin
// lie together, at once where all bins of a channel do.
template <class T, class A>
void place_box(const A* bins, const Block& block, const Shape& strides, T* to) {
  const std::int64_t of_channel = strides[1], of_row = strides[2], of_column = strides[3];
  if constexpr (std::is_same_v<A, float> && !std::is_same_v<T, f16>) {
    if (of_column == 1 && of_row == block.bins_x && of_channel == block.bins_y * block.bins_x)
      return transpose_rows(bins, of_channel, block.channels, to);
  }
  block.each([&](std::int64_t c, std::int64_t n, std::int64_t p, std::int64_t q) {
    const A* from = bins + (p * block.bins_x + q) * block.channels + c;
    T* bin = to + c * of_channel + p * of_row + q * of_column;
    for (std::int64_t k = 0; k < n; ++k) bin[k * of_channel] = T(from[k]);
  });
}

void roi_align_cpu(const Tensor& features, const Tensor& rois, const Tensor& rows, double scale,
                   const RoiAlignOptions& options, Tensor& out) {
  const std::int64_t h = features.size(1), w = features.size(2), channels = features.size(3);
  const std::int64_t bins_y = options.height, bins_x = options.width;
  const Shape strides = out.strides();
  dispatch_floating(features.dtype(), "roi_align", [&]<class T>() {
    using A = Accumulator<T>;
    using Read = std::conditional_t<std::is_same_v<T, f16>, A, T>;
    const Tensor readable = features.to(dtype_of<Read>);  // itself but for f16
    T* to = out.mutable_data<T>();
    parallel_for(0, rows.numel(), 1, [&](std::int64_t first, std::int64_t last) {
      std::vector<A> columns, bins(static_cast<std::size_t>(bins_y * bins_x * channels));
      for (std::int64_t i = first; i < last; ++i) {
        const std::int64_t row = rows.data<std::int64_t>()[i], image = image_of<A>(rois, row, features.size(0));
        const Window<A> window(rois.data<A>() + 5 * row, scale, options, h, w);
        columns.resize(static_cast<std::size_t>(window.column_count * channels));
        pool_box(readable.data<Read>() + image * h * w * channels, w, channels, window, columns.data(), bins.data());
        place_box(bins.data(), Block{channels, bins_y, bins_x}, strides, to + row * strides[0]);
      }
    });
  });
}

// Adds the gradients of one box's bins [P, Q, n] for channels [first, first + n).
template <class A>
void spread_box(const A* bins, std::int64_t n, const Window<A>& window, std::int64_t first, std::int64_t channels,
                std::int64_t map_width, A* columns, A* map) {
  for (const Bin<A>& row : window.rows) {
    std::fill_n(columns, window.column_count * n, A(0));
    for (const Bin<A>& column : window.columns) {
      for (std::int64_t x = 0; x < column.count; ++x)
        weighted_add(window.weights(column)[x], bins, n, columns + (column.first - window.first_column + x) * n);
      bins += n;
    }
    for (std::int64_t y = 0; y < row.count; ++y) {
      A* to = map + ((row.first + y) * map_width + window.first_column) * channels + first;
      for (std::int64_t x = 0; x < window.column_count; ++x)
        weighted_add(window.weights(row)[y], columns + x * n, n, to + x * channels);
    }
  }
}

void roi_align_grad_cpu(const Tensor& grad_out, const Tensor& rois, const Tensor& rows, double scale,
                        const RoiAlignOptions& options, Tensor& grad_in) {
  const std::int64_t h = grad_in.size(1), w = grad_in.size(2), channels = grad_in.size(3);
  const std::int64_t bins_y = options.height, bins_x = options.width;
  const Shape strides = grad_out.strides();
  dispatch_floating(grad_out.dtype(), "roi_align_grad", [&]<class T>() {
    using A = Accumulator<T>;
    const T* grad = grad_out.data<T>();
    A* sums = grad_in.mutable_data<A>();
    for (std::int64_t i = 0; i < rows.numel(); ++i) image_of<A>(rois, rows.data<std::int64_t>()[i], grad_in.size(0));
    // Threads share the channels, so that each sum has one order.
    parallel_for(0, channels, 16, [&](std::int64_t first, std::int64_t last) {
      const std::int64_t n = last - first;
      std::vector<A> columns, bins(static_cast<std::size_t>(bins_y * bins_x * n));
      for (std::int64_t i = 0; i < rows.numel(); ++i) {
        const std::int64_t row = rows.data<std::int64_t>()[i], image = image_of<A>(rois, row, grad_in.size(0));
        const Window<A> window(rois.data<A>() + 5 * row, scale, options, h, w);
        columns.resize(static_cast<std::size_t>(window.column_count * n));
        const Block block{n, bins_y, bins_x};
        block.each([&](std::int64_t c, std::int64_t count, std::int64_t p, std::int64_t q) {
          const T* from = grad + row * strides[0] + (first + c) * strides[1] + p * strides[2] + q * strides[3];
          A* bin = bins.data() + (p * bins_x + q) * n + c;
          for (std::int64_t k = 0; k < count; ++k) bin[k] = A(from[k * strides[1]]);
        });
        spread_box(bins.data(), n, window, first, channels, w, columns.data(), sums + image * h * w * channels);
      }
    });
  });
}

const Register r_roi_align(roi_align_kernel, DeviceType::kCpu, roi_align_cpu);
const Register r_roi_align_grad(roi_align_grad_kernel, DeviceType::kCpu, roi_align_grad_cpu);

}  // namespace
}  // namespace usol
