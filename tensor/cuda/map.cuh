#pragma once
// out[i] = f(a[i], b[i], ...): the kernel under every elementwise op. f gets and gives the accumulator type (f32 for
// f16 and bf16). Dense, aligned operands move four elements at a time; anything else goes through a StridedIndex.

#include <cuda_runtime.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "usol/tensor/cuda/device.cuh"
#include "usol/tensor/cuda/launch.h"
#include "usol/tensor/cuda/strided.cuh"
#include "usol/tensor/layout.h"
#include "usol/tensor/tensor.h"

namespace usol::cuda {

inline constexpr int kPack = 4;

template <class T>
struct alignas(kPack * sizeof(T) < 16 ? kPack * sizeof(T) : 16) Pack {
  T values[kPack];
};

/// The inputs of a map, by value to the kernel.
template <class T, int N>
struct MapInputs {
  const T* data[N];
};

template <class T, class F, int N, std::size_t... I>
__device__ T map_one(F f, const MapInputs<T, N>& in, const std::int64_t* offsets, std::index_sequence<I...>) {
  using A = Accumulator<T>;
  return T(f(A(in.data[I][offsets[I]])...));
}
template <class T, class F, int N, std::size_t... I>
__device__ T map_packed(F f, const Pack<T> (&packs)[N], int element, std::index_sequence<I...>) {
  using A = Accumulator<T>;
  return T(f(A(packs[I].values[element])...));
}

template <class T, class F, int N>
__global__ void map_strided_kernel(T* out, MapInputs<T, N> in, StridedIndex<N + 1> index, std::int64_t count, F f) {
  for (std::int64_t i = first_item(); i < count; i += item_stride()) {
    std::int64_t offsets[N + 1];
    index.offsets(i, offsets);
    out[offsets[0]] = map_one<T>(f, in, offsets + 1, std::make_index_sequence<N>());
  }
}

template <class T, class F, int N>
__global__ void map_dense_kernel(T* out, MapInputs<T, N> in, std::int64_t count, F f) {
  const std::int64_t packs = count / kPack;
  for (std::int64_t p = first_item(); p < packs; p += item_stride()) {
    Pack<T> read[N], result;
    for (int k = 0; k < N; ++k) read[k] = reinterpret_cast<const Pack<T>*>(in.data[k])[p];
    for (int e = 0; e < kPack; ++e) result.values[e] = map_packed<T>(f, read, e, std::make_index_sequence<N>());
    reinterpret_cast<Pack<T>*>(out)[p] = result;
  }
  const std::int64_t i = packs * kPack + first_item();  // at most kPack - 1 elements are left
  if (i < count) {
    std::int64_t offsets[N];
    for (int k = 0; k < N; ++k) offsets[k] = i;
    out[i] = map_one<T>(f, in, offsets, std::make_index_sequence<N>());
  }
}

/// Runs the map. All tensors have out's shape (inputs may be expanded) and dtype T; f is a functor with a
/// __device__ operator(). Reads of an element come before its write, so out may be an input itself.
template <class T, class F, class... Inputs>
void map(const char* op, Tensor& out, F f, const Inputs&... inputs) {
  constexpr int N = sizeof...(Inputs);
  const std::int64_t count = out.numel();
  if (count == 0) return;
  const Queue queue(op, out.device());
  // In the order of out's memory: operands that all lie in another order than row-major are one dense run too.
  const std::vector<int> order = memory_order(out);
  const auto strides = [&](const Tensor& t) { return t.permute(order).strides(); };
  const StridedIndex<N + 1> index(out.permute(order).shape(), {strides(out), strides(inputs)...});
  const MapInputs<T, N> in{{inputs.template data<T>()...}};
  T* to = out.mutable_data<T>();
  const auto aligned = [](const void* p) { return reinterpret_cast<std::uintptr_t>(p) % alignof(Pack<T>) == 0; };
  if (index.dense() && aligned(to) && (aligned(inputs.raw()) && ...)) {
    const Grid grid = queue.blocks_for((count + kPack - 1) / kPack);
    queue.launch(map_dense_kernel<T, F, N>, grid, kThreads, 0, to, in, count, f);
  } else {
    queue.launch(map_strided_kernel<T, F, N>, queue.blocks_for(count), kThreads, 0, to, in, index, count, f);
  }
}

}  // namespace usol::cuda
