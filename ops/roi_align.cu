// RoIAlign on CUDA. Forward: a thread per channel of a bin. Gradient: a block per cell finds the boxes that touch it,
// and goes through them in order with a thread per channel, so that no two add to one cell and the sums have one order.

#include <cuda_runtime.h>

#include <algorithm>
#include <limits>

#include "usol/ops/roi_align.h"
#include "usol/ops/roi_align_math.h"
#include "usol/tensor/cuda/device.cuh"
#include "usol/tensor/cuda/launch.h"

namespace usol {
namespace {

struct Geometry {
  std::int64_t cells_y, cells_x, channels, bins_y, bins_x, sampling_ratio;
  double scale;
  bool aligned;
  std::int64_t row_stride, channel_stride, y_stride, x_stride;  // of the bins
};

Geometry geometry_of(const Shape& map, double scale, const RoiAlignOptions& o, const Shape& strides) {
  return {map[1], map[2],    map[3],     o.height,   o.width,    o.sampling_ratio,
          scale,  o.aligned, strides[0], strides[1], strides[2], strides[3]};
}

__device__ std::int64_t bin_offset(const Geometry& g, std::int64_t row, std::int64_t c, std::int64_t p,
                                   std::int64_t q) {
  return row * g.row_stride + c * g.channel_stride + p * g.y_stride + q * g.x_stride;
}

template <class A>
__device__ RoiAxis<A> axis_y(const A* roi, const Geometry& g) {
  return roi_axis<A>(roi[2], roi[4], A(g.scale), g.bins_y, g.sampling_ratio, g.aligned);
}
template <class A>
__device__ RoiAxis<A> axis_x(const A* roi, const Geometry& g) {
  return roi_axis<A>(roi[1], roi[3], A(g.scale), g.bins_x, g.sampling_ratio, g.aligned);
}

template <class T>
__global__ void roi_align_bins_kernel(const T* features, const Accumulator<T>* rois, const std::int64_t* rows,
                                      Geometry g, std::int64_t count, T* out) {
  using A = Accumulator<T>;
  for (std::int64_t i = cuda::first_item(); i < count; i += cuda::item_stride()) {
    const std::int64_t c = i % g.channels, q = i / g.channels % g.bins_x, p = i / (g.channels * g.bins_x) % g.bins_y;
    const std::int64_t row = rows[i / (g.bins_x * g.bins_y * g.channels)];
    const A* roi = rois + 5 * row;
    const RoiAxis<A> y = axis_y(roi, g), x = axis_x(roi, g);
    const T* map = features + static_cast<std::int64_t>(roi[0]) * g.cells_y * g.cells_x * g.channels + c;
    A sum = 0;
    if (!y.finite || !x.finite) {
      sum = std::numeric_limits<A>::quiet_NaN();
    } else if (y.grid > 0 && x.grid > 0) {
      for (std::int64_t s = 0; s < y.grid; ++s) {
        const RoiTap<A> v = roi_tap(y, p, s, g.cells_y);
        if (v.low_weight == 0 && v.high_weight == 0) continue;
        for (std::int64_t t = 0; t < x.grid; ++t) {
          const RoiTap<A> h = roi_tap(x, q, t, g.cells_x);
          const T *low = map + v.low * g.cells_x * g.channels, *high = map + v.high * g.cells_x * g.channels;
          const std::int64_t left = h.low * g.channels, right = h.high * g.channels;
          sum += v.low_weight * (h.low_weight * A(low[left]) + h.high_weight * A(low[right])) +
                 v.high_weight * (h.low_weight * A(high[left]) + h.high_weight * A(high[right]));
        }
      }
      sum /= static_cast<A>(y.grid * x.grid);
    }
    out[bin_offset(g, row, c, p, q)] = T(sum);
  }
}

// Cells [first, end) that a box's samples touch.
template <class A>
__device__ void touched(const RoiAxis<A>& axis, std::int64_t bins, std::int64_t cells, std::int64_t* first,
                        std::int64_t* end) {
  A low = axis.start - 1, high = axis.start + axis.size * static_cast<A>(bins) + 2;
  if (low < 0 || axis.size < 0) low = 0;
  if (low > static_cast<A>(cells)) low = static_cast<A>(cells);
  if (high > static_cast<A>(cells) || axis.size < 0) high = static_cast<A>(cells);
  *first = static_cast<std::int64_t>(low);
  *end = high > 0 ? static_cast<std::int64_t>(ceil(high)) : 0;
}

// The weight of cell `at` in bin b.
template <class A>
__device__ A weight_in(const RoiAxis<A>& axis, std::int64_t b, std::int64_t at, std::int64_t cells) {
  A sum = 0;
  for (std::int64_t s = 0; s < axis.grid; ++s) {
    const RoiTap<A> tap = roi_tap(axis, b, s, cells);
    if (tap.low == at) sum += tap.low_weight;
    if (tap.high == at && tap.high != tap.low) sum += tap.high_weight;
  }
  return sum / static_cast<A>(axis.grid);
}

// Bins [first, end) that may have a sample within a cell of `at`. The border cells also stand for what lies outside.
template <class A>
__device__ void bins_near(const RoiAxis<A>& axis, std::int64_t bins, std::int64_t at, std::int64_t cells,
                          std::int64_t* first, std::int64_t* end) {
  *first = 0;
  *end = bins;
  if (!(axis.size > 0)) return;
  const A low = (static_cast<A>(at == 0 ? -1 : at) - 1 - axis.start) / axis.size - 1;
  const A high = (static_cast<A>(at == cells - 1 ? cells : at) + 1 - axis.start) / axis.size + 2;
  if (low > 0) *first = low < static_cast<A>(bins) ? static_cast<std::int64_t>(low) : bins;
  if (high < static_cast<A>(bins)) *end = high > 0 ? static_cast<std::int64_t>(high) : 0;
}

// False if no sample of the box is near cell (v, h).
template <class A>
__device__ bool near_cell(const RoiAxis<A>& y, const RoiAxis<A>& x, const Geometry& g, std::int64_t v, std::int64_t h) {
  if (!y.finite || !x.finite) return v == 0 && h == 0;  // such a box makes the map's first cell NaN
  if (y.grid == 0 || x.grid == 0) return false;
  std::int64_t first, end;
  touched(y, g.bins_y, g.cells_y, &first, &end);
  if (v < first || v >= end) return false;
  touched(x, g.bins_x, g.cells_x, &first, &end);
  return h >= first && h < end;
}

// The positions of threads with `chosen`, in their order, into `list`; returns how many. Whole warps, all threads.
__device__ int compact(bool chosen, int position, int* list, int* warp_counts) {
  const unsigned chosen_lanes = __ballot_sync(cuda::kAllLanes, chosen);
  const int lane = static_cast<int>(threadIdx.x) % cuda::kWarp, warp = static_cast<int>(threadIdx.x) / cuda::kWarp;
  if (lane == 0) warp_counts[warp] = __popc(chosen_lanes);
  __syncthreads();
  int before = __popc(chosen_lanes & ((1u << lane) - 1)), all = 0;
  for (int w = 0; w < static_cast<int>(blockDim.x) / cuda::kWarp; ++w) {
    if (w < warp) before += warp_counts[w];
    all += warp_counts[w];
  }
  if (chosen) list[before] = position;
  __syncthreads();
  return all;
}

// A block per cell. Its threads test a box each, then share the boxes found: the weights of a box's bins are computed
// once, in shared memory, for all channels.
template <class T>
__global__ void roi_align_grad_cells_kernel(const T* grad_out, const Accumulator<T>* rois, const std::int64_t* rows,
                                            int row_count, Geometry g, std::int64_t cells, Accumulator<T>* grad_in) {
  using A = Accumulator<T>;
  __shared__ int found[cuda::kThreads], warp_counts[cuda::kThreads / cuda::kWarp];
  A* const weights_y = cuda::dynamic_shared<A>();
  A* const weights_x = weights_y + g.bins_y;
  const std::int64_t first_channel = threadIdx.x, threads = blockDim.x;
  for (std::int64_t cell = blockIdx.x; cell < cells; cell += gridDim.x) {
    const std::int64_t h = cell % g.cells_x, v = cell / g.cells_x % g.cells_y, image = cell / (g.cells_x * g.cells_y);
    A* const totals = grad_in + cell * g.channels;  // a channel is always the same thread's
    for (int first = 0; first < row_count; first += static_cast<int>(threads)) {
      const int mine = first + static_cast<int>(threadIdx.x);
      bool near = false;
      if (mine < row_count) {
        const A* roi = rois + 5 * rows[mine];
        near = static_cast<std::int64_t>(roi[0]) == image && near_cell(axis_y(roi, g), axis_x(roi, g), g, v, h);
      }
      const int boxes = compact(near, mine, found, warp_counts);
      for (int b = 0; b < boxes; ++b) {
        const std::int64_t row = rows[found[b]];
        const RoiAxis<A> y = axis_y(rois + 5 * row, g), x = axis_x(rois + 5 * row, g);
        if (!y.finite || !x.finite) {
          for (std::int64_t c = first_channel; c < g.channels; c += threads)
            totals[c] = std::numeric_limits<A>::quiet_NaN();
          continue;
        }
        std::int64_t p0, p1, q0, q1;
        bins_near(y, g.bins_y, v, g.cells_y, &p0, &p1);
        bins_near(x, g.bins_x, h, g.cells_x, &q0, &q1);
        for (std::int64_t p = p0 + threadIdx.x; p < p1; p += threads) weights_y[p] = weight_in(y, p, v, g.cells_y);
        for (std::int64_t q = q0 + threadIdx.x; q < q1; q += threads) weights_x[q] = weight_in(x, q, h, g.cells_x);
        __syncthreads();
        for (std::int64_t c = first_channel; c < g.channels; c += threads) {
          A total = totals[c];
          for (std::int64_t p = p0; p < p1; ++p) {
            if (weights_y[p] == 0) continue;
            for (std::int64_t q = q0; q < q1; ++q)
              total += weights_y[p] * weights_x[q] * A(grad_out[bin_offset(g, row, c, p, q)]);
          }
          totals[c] = total;
        }
        __syncthreads();
      }
    }
  }
}

void roi_align_cuda(const Tensor& features, const Tensor& rois, const Tensor& rows, double scale,
                    const RoiAlignOptions& options, Tensor& out) {
  const cuda::Queue queue("roi_align", features.device());
  const Geometry g = geometry_of(features.shape(), scale, options, out.strides());
  const std::int64_t count = rows.numel() * g.channels * g.bins_y * g.bins_x;
  dispatch_floating(features.dtype(), "roi_align", [&]<class T>() {
    queue.launch(roi_align_bins_kernel<T>, queue.blocks_for(count), cuda::kThreads, 0, features.data<T>(),
                 rois.data<Accumulator<T>>(), rows.data<std::int64_t>(), g, count, out.mutable_data<T>());
  });
}

void roi_align_grad_cuda(const Tensor& grad_out, const Tensor& rois, const Tensor& rows, double scale,
                         const RoiAlignOptions& options, Tensor& grad_in) {
  const cuda::Queue queue("roi_align_grad", grad_out.device());
  const Geometry g = geometry_of(grad_in.shape(), scale, options, grad_out.strides());
  const std::int64_t cells = grad_in.size(0) * g.cells_y * g.cells_x;
  const std::int64_t whole_warps = (g.channels + cuda::kWarp - 1) / cuda::kWarp * cuda::kWarp;
  const int threads = static_cast<int>(std::clamp<std::int64_t>(whole_warps, cuda::kWarp, cuda::kThreads));
  dispatch_floating(grad_out.dtype(), "roi_align_grad", [&]<class T>() {
    using A = Accumulator<T>;
    const auto shared = static_cast<std::size_t>(g.bins_y + g.bins_x) * sizeof(A);
    queue.launch(roi_align_grad_cells_kernel<T>, queue.blocks_for(cells, 1), threads, shared, grad_out.data<T>(),
                 rois.data<A>(), rows.data<std::int64_t>(), static_cast<int>(rows.numel()), g, cells,
                 grad_in.mutable_data<A>());
  });
}

const Register r(roi_align_kernel, DeviceType::kCuda, roi_align_cuda);
const Register r_grad(roi_align_grad_kernel, DeviceType::kCuda, roi_align_grad_cuda);

}  // namespace
}  // namespace usol
