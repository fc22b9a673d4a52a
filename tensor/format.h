#pragma once
// {fmt} formatters of the tensor types, so that error texts can name shapes, dtypes and devices.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "usol/tensor/device.h"
#include "usol/tensor/dtype.h"
#include "usol/tensor/shape.h"

namespace usol::detail {

template <class T>
struct ToStringFormatter : fmt::formatter<std::string_view> {
  template <class FormatContext>
  auto format(const T& value, FormatContext& context) const {
    return fmt::formatter<std::string_view>::format(to_string(value), context);
  }
};

}  // namespace usol::detail

template <>
struct fmt::formatter<usol::DType> : usol::detail::ToStringFormatter<usol::DType> {};
template <>
struct fmt::formatter<usol::Device> : usol::detail::ToStringFormatter<usol::Device> {};
template <>
struct fmt::formatter<usol::Shape> : usol::detail::ToStringFormatter<usol::Shape> {};
template <>
struct fmt::is_range<usol::Shape, char> : std::false_type {};
