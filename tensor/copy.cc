#include "usol/tensor/copy.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "usol/tensor/bf16_rows.h"
#include "usol/tensor/parallel.h"
#include "usol/tensor/strided.h"

namespace usol {

constinit Kernel<void(const Tensor&, Tensor&)> copy_kernel{"copy"};
constinit Kernel<void(double, Tensor&)> fill_kernel{"fill"};
constinit Kernel<void(void*, const void*, std::size_t, bool)> transfer_kernel{"transfer"};

namespace {

template <class To, class From>
To cast(From value) {
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else if constexpr (std::is_same_v<To, bool>) {
    return static_cast<Accumulator<From>>(value) != Accumulator<From>(0);
  } else {
    return static_cast<To>(static_cast<Accumulator<From>>(value));
  }
}

// to[i] = from[i], both dense.
template <class To, class From>
void copy_row(const From* from, std::int64_t count, To* to) {
  if constexpr (std::is_same_v<To, bf16> && std::is_same_v<From, float>)
    bf16_rows::narrow(from, count, to);
  else if constexpr (std::is_same_v<To, float> && std::is_same_v<From, bf16>)
    bf16_rows::widen(from, count, to);
  else
    for (std::int64_t i = 0; i < count; ++i) to[i] = cast<To>(from[i]);
}

void copy_cpu(const Tensor& src, Tensor& dst) {
  if (src.dtype() == dst.dtype() && src.is_contiguous() && dst.is_contiguous()) {
    const auto bytes = static_cast<std::size_t>(src.numel()) * size_of(src.dtype());
    if (bytes > 0) std::memcpy(dst.raw(), src.raw(), bytes);
    dst.storage()->bump_version();
    return;
  }
  dispatch_all(src.dtype(), [&]<class From>() {
    dispatch_all(dst.dtype(), [&]<class To>() {
      const From* from = src.data<From>();
      To* to = dst.mutable_data<To>();
      const StridedLoop loop(dst.shape(), {dst.strides(), src.strides()});
      loop.parallel([&](const auto& offset, std::int64_t count, const auto& stride) {
        To* t = to + offset[0];
        const From* f = from + offset[1];
        if (stride[0] == 1 && stride[1] == 1) return copy_row(f, count, t);
        for (std::int64_t i = 0; i < count; ++i) t[i * stride[0]] = cast<To>(f[i * stride[1]]);
      });
    });
  });
}

void fill_cpu(double value, Tensor& dst) {
  dispatch_all(dst.dtype(), [&]<class T>() {
    T* to = dst.mutable_data<T>();
    const T v = cast<T>(value);
    const StridedLoop loop(dst.shape(), {dst.strides()});
    loop.parallel([&](const auto& offset, std::int64_t count, const auto& stride) {
      T* t = to + offset[0];
      if (stride[0] == 1)
        std::fill_n(t, count, v);
      else
        for (std::int64_t i = 0; i < count; ++i) t[i * stride[0]] = v;
    });
  });
}

const Register r_copy(copy_kernel, DeviceType::kCpu, copy_cpu);
const Register r_fill(fill_kernel, DeviceType::kCpu, fill_cpu);

}  // namespace
}  // namespace usol
