// Mean field of the dense CRF on CUDA. maskcut/crf.cc is the specification. Every sum is made by one thread, or by
// eight lanes whose parts are added in a fixed order, from lists of what it gathers: no atomics, the same bits each
// time.

#include <cuda_runtime.h>

#include <utility>

#include "usol/maskcut/crf.h"
#include "usol/tensor/cuda/device.cuh"
#include "usol/tensor/cuda/launch.h"

namespace usol::maskcut {
namespace {

using cuda::first_item;
using cuda::item_stride;
using cuda::kThreads;
using cuda::Queue;

// A lattice's arrays as kernels see them.
struct Lattice {
  int corners;
  float gain;
  std::int64_t vertices, slots;
  const float* weight;
  const std::int32_t *vertex, *slot_begin, *corner, *vertex_begin, *slot, *behind, *ahead;
};

constexpr int kLanes = 8;  // of one slot: there are short lists, and lists of thousands

template <int C>
__global__ void splat_kernel(Lattice lattice, const float* z, float* partial) {
  // Whole warps stay in the loop: they meet in the sums.
  const std::int64_t count = (lattice.slots * kLanes + cuda::kWarp - 1) / cuda::kWarp * cuda::kWarp;
  for (std::int64_t t = first_item(); t < count; t += item_stride()) {
    const std::int64_t slot = t / kLanes, lane = t % kLanes;
    float sum[C] = {};
    if (slot < lattice.slots)
      for (std::int64_t k = lattice.slot_begin[slot] + lane; k < lattice.slot_begin[slot + 1]; k += kLanes) {
        const std::int32_t corner = lattice.corner[k];
        const float weight = lattice.weight[corner];
        const float* value = z + std::int64_t{corner / lattice.corners} * C;
        for (int c = 0; c < C; ++c) sum[c] += weight * value[c];
      }
    for (int c = 0; c < C; ++c)
      for (int offset = kLanes / 2; offset > 0; offset /= 2) sum[c] += __shfl_xor_sync(cuda::kAllLanes, sum[c], offset);
    if (slot < lattice.slots && lane == 0)
      for (int c = 0; c < C; ++c) partial[slot * C + c] = sum[c];
  }
}

template <int C>
__global__ void sum_slots_kernel(Lattice lattice, const float* partial, float* rows) {
  for (std::int64_t v = first_item(); v < lattice.vertices; v += item_stride()) {
    float sum[C] = {};
    for (std::int64_t k = lattice.vertex_begin[v]; k < lattice.vertex_begin[v + 1]; ++k)
      for (int c = 0; c < C; ++c) sum[c] += partial[std::int64_t{lattice.slot[k]} * C + c];
    for (int c = 0; c < C; ++c) rows[v * C + c] = sum[c];
  }
}

template <int C>
__global__ void blur_kernel(Lattice lattice, int axis, const float* from, float* to) {
  for (std::int64_t v = first_item(); v < lattice.vertices; v += item_stride()) {
    const std::int64_t behind = lattice.behind[axis * lattice.vertices + v],
                       ahead = lattice.ahead[axis * lattice.vertices + v];
    for (int c = 0; c < C; ++c)
      to[v * C + c] = from[v * C + c] +
                      0.5f * ((behind < 0 ? 0.0f : from[behind * C + c]) + (ahead < 0 ? 0.0f : from[ahead * C + c]));
  }
}

template <int C>
__device__ void add_slice(const Lattice& lattice, const float* rows, std::int64_t point, float* z) {
  float sum[C] = {};
  for (int r = 0; r < lattice.corners; ++r) {
    const std::int64_t corner = point * lattice.corners + r;
    const float* row = rows + std::int64_t{lattice.vertex[corner]} * C;
    for (int c = 0; c < C; ++c) sum[c] += lattice.weight[corner] * row[c];
  }
  for (int c = 0; c < C; ++c) z[c] += lattice.gain * sum[c];
}

// z <- tanh((u + messages) / 2); without messages in the first step (rows are null); the mask itself in the last (`out`
// is not null).
template <int C>
__global__ void update_kernel(Lattice position, const float* position_rows, Lattice bilateral,
                              const float* bilateral_rows, const std::int32_t* pixels, std::int64_t points, int used,
                              const std::uint8_t* masks, float* next, std::uint8_t* out) {
  for (std::int64_t i = first_item(); i < points; i += item_stride()) {
    float z[C] = {};
    for (int c = 0; c < used; ++c) z[c] = masks[c * points + pixels[i]] != 0 ? 1.0f : -1.0f;
    if (position_rows != nullptr) {
      add_slice<C>(position, position_rows, i, z);
      add_slice<C>(bilateral, bilateral_rows, i, z);
    }
    if (out != nullptr) {
      for (int c = 0; c < used; ++c) out[c * points + pixels[i]] = z[c] > 0 ? 1 : 0;
    } else {
      for (int c = 0; c < C; ++c) next[i * C + c] = ::tanhf(0.5f * z[c]);
    }
  }
}

// A lattice in device memory.
class LatticeOnDevice {
 public:
  LatticeOnDevice(const Permutohedral& lattice, Device device)
      : device_(device), corners_(lattice.dims() + 1), gain_(lattice.gain()), vertices_(lattice.vertices()) {
    const Permutohedral::Lists lists = lattice.lists();
    slots_ = static_cast<std::int64_t>(lists.slot.size());
    weight_ = upload(lattice.weights());
    vertex_ = upload<std::int32_t>(lists.vertex);
    slot_begin_ = upload<std::int32_t>(lists.slot_begin);
    corner_ = upload<std::int32_t>(lists.corner);
    vertex_begin_ = upload<std::int32_t>(lists.vertex_begin);
    slot_ = upload<std::int32_t>(lists.slot);
    behind_ = upload<std::int32_t>(lists.behind);
    ahead_ = upload<std::int32_t>(lists.ahead);
  }

  Lattice view() const {
    return {corners_,
            gain_,
            vertices_,
            slots_,
            weight_.data<float>(),
            vertex_.data<std::int32_t>(),
            slot_begin_.data<std::int32_t>(),
            corner_.data<std::int32_t>(),
            vertex_begin_.data<std::int32_t>(),
            slot_.data<std::int32_t>(),
            behind_.data<std::int32_t>(),
            ahead_.data<std::int32_t>()};
  }

  // Splats and blurs z [points, C]; the result stays valid until the next call.
  template <int C>
  const float* filter(const Queue& queue, const Tensor& z) {
    if (!rows_.defined() || rows_.size(1) != C) {
      partial_ = Tensor::empty({slots_, C}, DType::kF32, device_);
      rows_ = Tensor::empty({vertices_, C}, DType::kF32, device_);
      other_ = Tensor::empty({vertices_, C}, DType::kF32, device_);
    }
    const Lattice lattice = view();
    queue.launch(splat_kernel<C>, queue.blocks_for(slots_ * kLanes), kThreads, 0, lattice, z.data<float>(),
                 partial_.mutable_data<float>());
    queue.launch(sum_slots_kernel<C>, queue.blocks_for(vertices_), kThreads, 0, lattice, partial_.data<float>(),
                 rows_.mutable_data<float>());
    for (int axis = 0; axis < corners_; ++axis) {
      queue.launch(blur_kernel<C>, queue.blocks_for(vertices_), kThreads, 0, lattice, axis, rows_.data<float>(),
                   other_.mutable_data<float>());
      std::swap(rows_, other_);
    }
    return rows_.data<float>();
  }

 private:
  template <class T>
  Tensor upload(std::span<const T> values) const {
    return Tensor::from(values, {static_cast<std::int64_t>(values.size())}).to(device_);
  }

  Device device_;
  int corners_;
  float gain_;
  std::int64_t vertices_, slots_ = 0;
  Tensor weight_, vertex_, slot_begin_, corner_, vertex_begin_, slot_, behind_, ahead_, partial_, rows_, other_;
};

// masks and out: u8 [used, points].
template <int C>
void run_mean_field(const Queue& queue, LatticeOnDevice& position, LatticeOnDevice& bilateral, const Tensor& pixels,
                    int iterations, const Tensor& masks, Tensor& out) {
  const std::int64_t points = pixels.numel();
  Tensor z = Tensor::empty({points, C}, DType::kF32, pixels.device());
  for (int step = 0; step <= iterations; ++step) {
    const float *position_rows = nullptr, *bilateral_rows = nullptr;
    if (step > 0) {
      position_rows = position.filter<C>(queue, z);
      bilateral_rows = bilateral.filter<C>(queue, z);
    }
    queue.launch(update_kernel<C>, queue.blocks_for(points), kThreads, 0, position.view(), position_rows,
                 bilateral.view(), bilateral_rows, pixels.data<std::int32_t>(), points, static_cast<int>(masks.size(0)),
                 masks.data<std::uint8_t>(), z.mutable_data<float>(),
                 step == iterations ? out.mutable_data<std::uint8_t>() : nullptr);
  }
}

void mean_field_cuda(const MeanField& field, const Tensor& masks, Tensor& refined) {
  const Device device = field.device;
  const Queue queue("mean_field", device);
  LatticeOnDevice position(field.position, device), bilateral(field.bilateral, device);
  const Tensor pixels = Tensor::from(field.pixels, {masks.size(1)}).to(device);
  for (std::int64_t begin = 0; begin < masks.size(0); begin += 4) {
    const std::int64_t end = begin + 4 < masks.size(0) ? begin + 4 : masks.size(0);
    const Tensor some = masks.slice(0, begin, end).to(device);
    Tensor out = Tensor::empty(some.shape(), DType::kU8, device);
    if (end - begin > 2)
      run_mean_field<4>(queue, position, bilateral, pixels, field.iterations, some, out);
    else if (end - begin == 2)
      run_mean_field<2>(queue, position, bilateral, pixels, field.iterations, some, out);
    else
      run_mean_field<1>(queue, position, bilateral, pixels, field.iterations, some, out);
    refined.slice(0, begin, end).copy_from(out);
  }
}

const Register r(mean_field_kernel, DeviceType::kCuda, mean_field_cuda);

}  // namespace
}  // namespace usol::maskcut
