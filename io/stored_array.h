#pragma once
// Arrays as files store them (safetensors, .npy, .pth, .pkl), turned into Tensors.
// Types that Tensor lacks are widened when read: i8, i16 and u16 become i32, u32 becomes i64; values are kept exactly.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "usol/io/shared_bytes.h"
#include "usol/tensor/tensor.h"

namespace usol::io {

enum class StoredType { kF32, kF16, kBF16, kF64, kI64, kI32, kI16, kI8, kU8, kU16, kU32, kBool };

/// Bytes per element.
std::size_t size_of(StoredType type);
/// "f32", "i16" ...
std::string_view name_of(StoredType type);
/// The dtype that a Tensor of such elements gets.
DType dtype_of_stored(StoredType type);
/// True if that holds more than the type, which no Tensor has.
bool is_widened(StoredType type);
/// The type that a Tensor's elements are written as.
StoredType stored_type_of(DType dtype);

/// The type that NumPy writes as kind and size, "f4" or "b1"; nothing for those that are not supported (u8, c8, O ...).
std::optional<StoredType> stored_type_of_numpy(std::string_view kind_and_size);

/// Bytes of a dense array. Throws Error(kFormat) beginning with `what` for a negative size, more than Shape::kMaxRank
/// sizes or a product beyond 2^62 (sizes of 0 count as 1 there, so that strides cannot overflow either).
std::size_t stored_bytes(std::span<const std::int64_t> shape, StoredType type, const std::string& what);

struct StoredOrder {
  bool big_endian = false;
  bool fortran = false;  // first index fastest
};
/// A CPU tensor, row-major, over all of `source`. It points into `source` if the bytes are already what Tensor needs
/// (same type, little-endian, row-major, aligned to the element); else it is a copy.
/// Throws Error(kFormat) beginning with `what` if the size does not fit or a bool is neither 0 nor 1.
Tensor tensor_from_stored(const SharedBytes& source, StoredType type, const Shape& shape, const std::string& what,
                          StoredOrder order = {});

/// The tensor as a dense row-major CPU tensor, ready to be written: itself if it is one, else a copy.
Tensor storable(const Tensor& tensor);
/// The bytes of a dense CPU tensor.
std::span<const std::byte> bytes_of(const Tensor& dense);

}  // namespace usol::io
