#include "usol/tensor/add_into.h"

#include <type_traits>

#include "usol/tensor/bf16_rows.h"
#include "usol/tensor/check.h"
#include "usol/tensor/strided.h"

namespace usol {

constinit Kernel<void(Tensor&, const Tensor&)> add_into_kernel{"add_into"};

void add_into(Tensor& a, const Tensor& b) {
  check(a.shape() == b.shape() && a.dtype() == b.dtype() && a.device() == b.device(),
        "add_into: {} {} on {} and {} {} on {} differ", a.dtype(), a.shape(), a.device(), b.dtype(), b.shape(),
        b.device());
  a.storage()->bump_version();
  add_into_kernel(a.device(), a, b);
}

namespace {

void add_into_cpu(Tensor& a, const Tensor& b) {
  dispatch_floating(a.dtype(), "add_into", [&]<class T>() {
    T* to = a.mutable_data<T>();
    const T* from = b.data<T>();
    const StridedLoop loop(a.shape(), {a.strides(), b.strides()});
    loop.parallel([&](const auto& offset, std::int64_t count, const auto& stride) {
      T* t = to + offset[0];
      const T* f = from + offset[1];
      if (stride[0] == 1 && stride[1] == 1) {
        if constexpr (std::is_same_v<T, bf16>) return bf16_rows::add(t, f, count, t);
        for (std::int64_t i = 0; i < count; ++i) t[i] = t[i] + f[i];
      } else {
        for (std::int64_t i = 0; i < count; ++i) t[i * stride[0]] = t[i * stride[0]] + f[i * stride[1]];
      }
    });
  });
}

const Register r(add_into_kernel, DeviceType::kCpu, add_into_cpu);

}  // namespace
}  // namespace usol
