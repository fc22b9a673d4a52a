#pragma once
// The device side of the emulated CUDA runtime: qualifiers, built-in variables, warp and block functions, launches.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>

#include "cuda_runtime_api.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)
// Blocks run one after the other, so a static variable is the block's own. All lie together, to be poisoned between
// two.
#define __shared__ static __attribute__((section("usol_shared")))

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

extern uint3 threadIdx, blockIdx;  // of the thread that runs now
extern dim3 blockDim, gridDim;

namespace emulation {

/// Runs `thread` for every thread of every block, or adds it to the graph that the stream captures.
cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel, const std::function<void()>& thread);
void* dynamic_shared_bytes();
void wait_for_block();
/// Every lane of `mask`, which must be the whole warp, gives up to 16 bytes and then reads those of lane `source` (its
/// own where source is no lane).
void exchange(unsigned mask, const void* value, void* result, std::size_t bytes, int source);
/// The mask of lanes whose predicate holds.
unsigned ballot(unsigned mask, bool predicate);
/// Waits for all lanes of `mask`; what they did before is done for each of them.
void sync_warp(unsigned mask);
int lane();
/// An atomic operation touches these bytes.
void atomic_access(const void* address, std::size_t bytes);

template <class T>
T shuffle(unsigned mask, T value, int source) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 16);
  T result;
  exchange(mask, &value, &result, sizeof(T), source);
  return result;
}

}  // namespace emulation

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  return emulation::launch(*config, reinterpret_cast<const void*>(kernel),
                           [kernel, values = std::tuple<Parameters...>(arguments...)] { std::apply(kernel, values); });
}

// ---- device functions ----
inline void __syncthreads() { emulation::wait_for_block(); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { emulation::sync_warp(mask); }
inline void __threadfence() {}
[[noreturn]] inline void __trap() { std::abort(); }

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  return emulation::shuffle(mask, value, emulation::lane() / width * width + source % width);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32) {
  const int lane = emulation::lane(), source = lane ^ lane_mask;
  return emulation::shuffle(mask, value, source / width == lane / width ? source : lane);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int lane = emulation::lane(), source = lane + static_cast<int>(delta);
  return emulation::shuffle(mask, value, source / width == lane / width ? source : lane);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int lane = emulation::lane(), source = lane - static_cast<int>(delta);
  return emulation::shuffle(mask, value, source >= lane / width * width ? source : lane);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) { return emulation::ballot(mask, predicate != 0); }
inline int __any_sync(unsigned mask, int predicate) { return emulation::ballot(mask, predicate != 0) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return emulation::ballot(mask, predicate == 0) == 0; }

inline int __popc(unsigned x) { return std::popcount(x); }
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline int __ffsll(long long x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned long long>(x)) + 1; }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }

template <class T>
T __ldg(const T* p) {
  return *p;
}
// Their own reads and writes are no ordinary ones (conflicts.h).
#define USOL_ATOMIC __attribute__((noinline, no_sanitize("thread")))
template <class T, class U>
USOL_ATOMIC T atomicAdd(T* p, U value) {
  emulation::atomic_access(p, sizeof(T));
  const T old = *p;
  *p = static_cast<T>(old + static_cast<T>(value));
  return old;
}
template <class T, class U>
USOL_ATOMIC T atomicMax(T* p, U value) {
  emulation::atomic_access(p, sizeof(T));
  const T old = *p;
  *p = std::max(old, static_cast<T>(value));
  return old;
}
template <class T, class U>
USOL_ATOMIC T atomicMin(T* p, U value) {
  emulation::atomic_access(p, sizeof(T));
  const T old = *p;
  *p = std::min(old, static_cast<T>(value));
  return old;
}
template <class T, class U>
USOL_ATOMIC T atomicOr(T* p, U value) {
  emulation::atomic_access(p, sizeof(T));
  const T old = *p;
  *p = static_cast<T>(old | static_cast<T>(value));
  return old;
}
template <class T, class U>
USOL_ATOMIC T atomicExch(T* p, U value) {
  emulation::atomic_access(p, sizeof(T));
  const T old = *p;
  *p = static_cast<T>(value);
  return old;
}
template <class T, class U, class V>
USOL_ATOMIC T atomicCAS(T* p, U expected, V value) {
  emulation::atomic_access(p, sizeof(T));
  const T old = *p;
  if (old == static_cast<T>(expected)) *p = static_cast<T>(value);
  return old;
}

inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
