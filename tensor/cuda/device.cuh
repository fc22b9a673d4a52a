#pragma once
// What kernels share on the device: the grid-stride loop's indices, shared memory sized at launch, sums over a warp and
// over a block. Sums are taken in a fixed order, so results do not depend on timing.

#include <cuda_runtime.h>

#include <cstdint>

namespace usol::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

/// for (std::int64_t i = first_item(); i < n; i += item_stride()): every item once, over the whole grid.
__device__ inline std::int64_t first_item() { return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline std::int64_t item_stride() { return static_cast<std::int64_t>(gridDim.x) * blockDim.x; }

/// The block's dynamic shared memory, 16-byte aligned.
template <class T>
__device__ T* dynamic_shared() {
#if defined(__CUDACC__)
  extern __shared__ __align__(16) unsigned char usol_dynamic_shared[];
  return reinterpret_cast<T*>(usol_dynamic_shared);
#else
  return reinterpret_cast<T*>(emulation::dynamic_shared_bytes());
#endif
}

struct Sum {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
/// The larger; a NaN wins.
struct Max {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a > b || a != a ? a : b;
  }
};

/// combine() over the 32 lanes, in every lane. All lanes must take part.
template <class T, class Combine>
__device__ T warp_reduce(T value, Combine combine) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2)
    value = combine(value, __shfl_xor_sync(kAllLanes, value, offset));
  return value;
}

/// combine() over a block of whole warps, in every thread. `neutral` changes nothing under combine. `scratch` is shared
/// memory for 32 values; it may be used again after the call.
template <class T, class Combine>
__device__ T block_reduce(T value, Combine combine, T neutral, T* scratch) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
  value = warp_reduce(value, combine);
  if (lane == 0) scratch[warp] = value;
  __syncthreads();
  value = warp_reduce(lane < warps ? scratch[lane] : neutral, combine);
  __syncthreads();
  return value;
}

}  // namespace usol::cuda
