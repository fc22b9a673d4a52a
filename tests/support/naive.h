#pragma once
// Helpers to write naive f64 references: element access by index, element maps.

#include <cmath>
#include <functional>

#include "usol/tensor/tensor.h"

namespace usol::test {

/// f per element of a dense f64 tensor.
inline Tensor map(const Tensor& a, const std::function<double(double)>& f) {
  Tensor out = Tensor::empty(a.shape(), DType::kF64);
  const double* from = a.data<double>();
  double* to = out.mutable_data<double>();
  for (std::int64_t i = 0; i < a.numel(); ++i) to[i] = f(from[i]);
  return out;
}

/// f per pair of broadcast elements.
inline Tensor zip(const Tensor& a, const Tensor& b, const std::function<double(double, double)>& f) {
  const Shape shape = broadcast_shapes(a.shape(), b.shape(), "zip");
  const Tensor x = a.expand(shape).contiguous(), y = b.expand(shape).contiguous();
  Tensor out = Tensor::empty(shape, DType::kF64);
  double* to = out.mutable_data<double>();
  for (std::int64_t i = 0; i < out.numel(); ++i) to[i] = f(x.data<double>()[i], y.data<double>()[i]);
  return out;
}

/// An f64 tensor whose element at each index is f(index).
inline Tensor build(const Shape& shape, const std::function<double(const Shape& index)>& f) {
  Tensor out = Tensor::empty(shape, DType::kF64);
  double* to = out.mutable_data<double>();
  Shape index = shape;
  for (int d = 0; d < shape.rank(); ++d) index[d] = 0;
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    to[i] = f(index);
    for (int d = shape.rank() - 1; d >= 0; --d) {
      if (++index[d] < shape[d]) break;
      index[d] = 0;
    }
  }
  return out;
}

/// Element of an f64 (or, as double, integer) CPU tensor.
inline double at(const Tensor& t, const Shape& index) {
  std::int64_t offset = 0;
  for (int d = 0; d < t.rank(); ++d) offset += index[d] * t.strides()[d];
  return dispatch_all(t.dtype(), [&]<class T>() { return static_cast<double>(t.data<T>()[offset]); });
}

}  // namespace usol::test
