#include "usol/io/stored_array.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>
#include <vector>

#include "usol/tensor/check.h"

namespace usol::io {

static_assert(std::endian::native == std::endian::little, "file formats are read as little-endian");

std::size_t size_of(StoredType type) {
  switch (type) {
    case StoredType::kF64:
    case StoredType::kI64:
      return 8;
    case StoredType::kF32:
    case StoredType::kI32:
    case StoredType::kU32:
      return 4;
    case StoredType::kF16:
    case StoredType::kBF16:
    case StoredType::kI16:
    case StoredType::kU16:
      return 2;
    case StoredType::kI8:
    case StoredType::kU8:
    case StoredType::kBool:
      return 1;
  }
  fail(ErrorKind::kInvalidArgument, "stored array: not a type");
}

std::string_view name_of(StoredType type) {
  switch (type) {
    case StoredType::kI16:
      return "i16";
    case StoredType::kI8:
      return "i8";
    case StoredType::kU16:
      return "u16";
    case StoredType::kU32:
      return "u32";
    default:
      return name_of(dtype_of_stored(type));
  }
}

DType dtype_of_stored(StoredType type) {
  switch (type) {
    case StoredType::kF32:
      return DType::kF32;
    case StoredType::kF16:
      return DType::kF16;
    case StoredType::kBF16:
      return DType::kBF16;
    case StoredType::kF64:
      return DType::kF64;
    case StoredType::kI64:
    case StoredType::kU32:
      return DType::kI64;
    case StoredType::kI32:
    case StoredType::kI16:
    case StoredType::kI8:
    case StoredType::kU16:
      return DType::kI32;
    case StoredType::kU8:
      return DType::kU8;
    case StoredType::kBool:
      return DType::kBool;
  }
  fail(ErrorKind::kInvalidArgument, "stored array: not a type");
}

bool is_widened(StoredType type) { return stored_type_of(dtype_of_stored(type)) != type; }

StoredType stored_type_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return StoredType::kF32;
    case DType::kF16:
      return StoredType::kF16;
    case DType::kBF16:
      return StoredType::kBF16;
    case DType::kF64:
      return StoredType::kF64;
    case DType::kI64:
      return StoredType::kI64;
    case DType::kI32:
      return StoredType::kI32;
    case DType::kU8:
      return StoredType::kU8;
    case DType::kBool:
      return StoredType::kBool;
  }
  fail(ErrorKind::kInvalidArgument, "stored array: not a dtype");
}

std::optional<StoredType> stored_type_of_numpy(std::string_view kind_and_size) {
  static constexpr std::array<std::pair<std::string_view, StoredType>, 11> kTypes = {{{"f4", StoredType::kF32},
                                                                                      {"f2", StoredType::kF16},
                                                                                      {"f8", StoredType::kF64},
                                                                                      {"i8", StoredType::kI64},
                                                                                      {"i4", StoredType::kI32},
                                                                                      {"i2", StoredType::kI16},
                                                                                      {"i1", StoredType::kI8},
                                                                                      {"u1", StoredType::kU8},
                                                                                      {"u2", StoredType::kU16},
                                                                                      {"u4", StoredType::kU32},
                                                                                      {"b1", StoredType::kBool}}};
  for (const auto& [name, type] : kTypes) {
    if (name == kind_and_size) return type;
  }
  return std::nullopt;
}

std::size_t stored_bytes(std::span<const std::int64_t> shape, StoredType type, const std::string& what) {
  check(shape.size() <= Shape::kMaxRank, ErrorKind::kFormat, "{}: at most {} dimensions are supported, got {}", what,
        Shape::kMaxRank, shape.size());
  constexpr std::uint64_t kLimit = std::uint64_t{1} << 62;
  std::uint64_t product = size_of(type);
  bool empty = false;
  for (const std::int64_t size : shape) {
    check(size >= 0, ErrorKind::kFormat, "{}: negative size {}", what, size);
    const auto factor = static_cast<std::uint64_t>(std::max<std::int64_t>(size, 1));
    check(product <= kLimit / factor, ErrorKind::kFormat, "{}: shape [{}] is too large", what,
          fmt::join(shape.begin(), shape.end(), ", "));
    product *= factor;
    empty = empty || size == 0;
  }
  return empty ? 0 : static_cast<std::size_t>(product);
}

namespace {

void swap_bytes(std::vector<std::byte>& bytes, std::size_t element) {
  for (std::size_t i = 0; i + element <= bytes.size(); i += element) {
    std::reverse(bytes.data() + i, bytes.data() + i + element);
  }
}

template <class From, class To>
void widen(std::span<const std::byte> source, Tensor& destination) {
  To* out = destination.mutable_data<To>();
  const std::size_t count = source.size() / sizeof(From);
  for (std::size_t i = 0; i < count; ++i) {
    From value;
    std::memcpy(&value, source.data() + i * sizeof(From), sizeof(From));
    out[i] = value;
  }
}

void check_bools(std::span<const std::byte> bytes, const std::string& what) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    check(bytes[i] <= std::byte{1}, ErrorKind::kFormat, "{}: a bool must be 0 or 1, element {} is {}", what, i,
          std::to_integer<int>(bytes[i]));
  }
}

}  // namespace

Tensor tensor_from_stored(const SharedBytes& source, StoredType type, const Shape& shape, const std::string& what,
                          StoredOrder order) {
  const std::size_t bytes = stored_bytes({shape.begin(), shape.end()}, type, what);
  check(bytes == source.size(), ErrorKind::kFormat, "{}: shape {} of {} needs {} bytes, the file holds {}", what, shape,
        name_of(type), bytes, source.size());
  if (type == StoredType::kBool) check_bools(source.bytes, what);
  if (order.fortran && shape.rank() > 1) {
    Shape reversed;
    std::vector<int> dims;
    for (int d = shape.rank() - 1; d >= 0; --d) {
      reversed.push_back(shape[d]);
      dims.push_back(d);
    }
    return tensor_from_stored(source, type, reversed, what, {order.big_endian, false}).permute(dims).contiguous();
  }
  const std::size_t element = size_of(type);
  if (order.big_endian && element > 1) {
    std::vector<std::byte> swapped(source.bytes.begin(), source.bytes.end());
    swap_bytes(swapped, element);
    return tensor_from_stored(own_bytes(std::move(swapped), source.name), type, shape, what);
  }
  const DType dtype = dtype_of_stored(type);
  const bool same_type = stored_type_of(dtype) == type;
  if (same_type && bytes > 0 && reinterpret_cast<std::uintptr_t>(source.bytes.data()) % element == 0) {
    return Tensor::borrow(source.bytes.data(), shape, dtype, [owner = source.owner] {});
  }
  Tensor out = Tensor::empty(shape, dtype);
  if (same_type) {
    if (bytes > 0) std::memcpy(out.raw(), source.bytes.data(), bytes);
  } else if (type == StoredType::kI8) {
    widen<std::int8_t, std::int32_t>(source.bytes, out);
  } else if (type == StoredType::kI16) {
    widen<std::int16_t, std::int32_t>(source.bytes, out);
  } else if (type == StoredType::kU16) {
    widen<std::uint16_t, std::int32_t>(source.bytes, out);
  } else {
    widen<std::uint32_t, std::int64_t>(source.bytes, out);
  }
  return out;
}

Tensor storable(const Tensor& tensor) {
  check(tensor.defined(), "write: undefined tensor");
  return tensor.detach().to(Device::cpu()).contiguous();
}

std::span<const std::byte> bytes_of(const Tensor& dense) {
  return {dense.raw(), static_cast<std::size_t>(dense.numel()) * size_of(dense.dtype())};
}

}  // namespace usol::io
