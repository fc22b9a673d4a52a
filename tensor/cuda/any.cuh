#pragma once
// An element whose dtype is a run-time argument. For kernels that memory sets the pace of: a branch that all threads
// take together is cheaper than a kernel for every dtype (or pair of them).

#include <cuda_runtime.h>

#include <cstdint>

#include "usol/tensor/dtype.h"

namespace usol::cuda {

/// A value of any dtype: floating ones are exact in f64, integers (and bool, as 0 or 1) in i64.
struct Any {
  bool integer;
  double real;
  std::int64_t whole;
};

__device__ inline Any load_any(const void* data, DType dtype, std::int64_t i) {
  switch (dtype) {
    case DType::kF32:
      return {false, static_cast<const float*>(data)[i], 0};
    case DType::kF16:
      return {false, float(static_cast<const f16*>(data)[i]), 0};
    case DType::kBF16:
      return {false, float(static_cast<const bf16*>(data)[i]), 0};
    case DType::kF64:
      return {false, static_cast<const double*>(data)[i], 0};
    case DType::kI64:
      return {true, 0, static_cast<const std::int64_t*>(data)[i]};
    case DType::kI32:
      return {true, 0, static_cast<const std::int32_t*>(data)[i]};
    case DType::kU8:
      return {true, 0, static_cast<const std::uint8_t*>(data)[i]};
    case DType::kBool:
      return {true, 0, static_cast<const std::uint8_t*>(data)[i] != 0};
  }
  return {true, 0, 0};
}

template <class T>
__device__ T convert_any(const Any& value) {
  return value.integer ? static_cast<T>(value.whole) : static_cast<T>(value.real);
}

/// Stores the value as `dtype`; f16 and bf16 are rounded from f32, as on the CPU.
__device__ inline void store_any(void* data, DType dtype, std::int64_t i, const Any& value) {
  switch (dtype) {
    case DType::kF32:
      static_cast<float*>(data)[i] = convert_any<float>(value);
      return;
    case DType::kF16:
      static_cast<f16*>(data)[i] = f16(convert_any<float>(value));
      return;
    case DType::kBF16:
      static_cast<bf16*>(data)[i] = bf16(convert_any<float>(value));
      return;
    case DType::kF64:
      static_cast<double*>(data)[i] = convert_any<double>(value);
      return;
    case DType::kI64:
      static_cast<std::int64_t*>(data)[i] = convert_any<std::int64_t>(value);
      return;
    case DType::kI32:
      static_cast<std::int32_t*>(data)[i] = convert_any<std::int32_t>(value);
      return;
    case DType::kU8:
      static_cast<std::uint8_t*>(data)[i] = convert_any<std::uint8_t>(value);
      return;
    case DType::kBool:
      static_cast<std::uint8_t*>(data)[i] = value.integer ? value.whole != 0 : value.real != 0;
      return;
  }
}

/// Calls f.template operator()<Word>() with the unsigned type of `bytes` (1, 2, 4 or 8): for moving elements unread.
template <class F>
void dispatch_word(std::size_t bytes, F&& f) {
  switch (bytes) {
    case 1:
      return f.template operator()<std::uint8_t>();
    case 2:
      return f.template operator()<std::uint16_t>();
    case 4:
      return f.template operator()<std::uint32_t>();
    default:
      return f.template operator()<std::uint64_t>();
  }
}

}  // namespace usol::cuda
