#pragma once
// Element types of a Tensor, and dispatch from the run-time DType to a C++ type.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "usol/tensor/error.h"
#include "usol/tensor/half.h"

namespace usol {

enum class DType : std::uint8_t { kF32, kF16, kBF16, kF64, kI64, kI32, kU8, kBool };

/// Bytes per element.
std::size_t size_of(DType dtype);
/// "f32", "f16", "bf16", "f64", "i64", "i32", "u8", "bool".
std::string_view name_of(DType dtype);
inline std::string to_string(DType dtype) { return std::string(name_of(dtype)); }
/// True for f32, f16, bf16 and f64, the types that carry gradients.
bool is_floating(DType dtype);

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::kF32;
};
template <>
struct DTypeOf<f16> {
  static constexpr DType value = DType::kF16;
};
template <>
struct DTypeOf<bf16> {
  static constexpr DType value = DType::kBF16;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::kF64;
};
template <>
struct DTypeOf<std::int64_t> {
  static constexpr DType value = DType::kI64;
};
template <>
struct DTypeOf<std::int32_t> {
  static constexpr DType value = DType::kI32;
};
template <>
struct DTypeOf<std::uint8_t> {
  static constexpr DType value = DType::kU8;
};
template <>
struct DTypeOf<bool> {
  static constexpr DType value = DType::kBool;
};
template <class T>
inline constexpr DType dtype_of = DTypeOf<T>::value;

/// The type sums of T are kept in: f32 for f16, bf16 and f32, T itself for the others.
template <class T>
struct AccumulatorOf {
  using type = T;
};
template <>
struct AccumulatorOf<f16> {
  using type = float;
};
template <>
struct AccumulatorOf<bf16> {
  using type = float;
};
template <class T>
using Accumulator = typename AccumulatorOf<T>::type;

/// Calls f.template operator()<T>() with the C++ type of `dtype`: dispatch_all(d, "copy", [&]<class T>() {...}).
template <class F>
decltype(auto) dispatch_all(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kF32:
      return f.template operator()<float>();
    case DType::kF16:
      return f.template operator()<f16>();
    case DType::kBF16:
      return f.template operator()<bf16>();
    case DType::kF64:
      return f.template operator()<double>();
    case DType::kI64:
      return f.template operator()<std::int64_t>();
    case DType::kI32:
      return f.template operator()<std::int32_t>();
    case DType::kU8:
      return f.template operator()<std::uint8_t>();
    case DType::kBool:
      return f.template operator()<bool>();
  }
  fail(ErrorKind::kInvalidArgument, "dispatch: not a dtype");
}

/// As dispatch_all for the floating types only; another dtype throws an Error naming `op`.
template <class F>
decltype(auto) dispatch_floating(DType dtype, std::string_view op, F&& f) {
  switch (dtype) {
    case DType::kF32:
      return f.template operator()<float>();
    case DType::kF16:
      return f.template operator()<f16>();
    case DType::kBF16:
      return f.template operator()<bf16>();
    case DType::kF64:
      return f.template operator()<double>();
    default:
      fail(ErrorKind::kInvalidArgument,
           std::string(op) + ": expected a floating dtype, got " + std::string(name_of(dtype)));
  }
}

}  // namespace usol
