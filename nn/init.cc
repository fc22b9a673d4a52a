#include "usol/nn/init.h"

#include <algorithm>
#include <cmath>

#include "usol/tensor/check.h"

namespace usol::init {
namespace {

template <class Draw>
void fill(Tensor& tensor, Draw draw) {
  float* data = tensor.mutable_data<float>();
  for (std::int64_t i = 0; i < tensor.numel(); ++i) data[i] = draw();
}

// Elements of the receptive field: [out, in, kernel...] -> product of the kernel sizes.
double field(const Tensor& t) {
  check(t.rank() >= 2, "init: fan is undefined for shape {}", t.shape());
  return static_cast<double>(t.numel()) / static_cast<double>(std::max<std::int64_t>(1, t.size(0) * t.size(1)));
}

}  // namespace

Initializer constant(float value) {
  return [value](Tensor& t, Generator&) { t.fill(value); };
}

Initializer uniform(double bound) {
  return [bound](Tensor& t, Generator& g) { fill(t, [&] { return static_cast<float>(g.uniform(-bound, bound)); }); };
}

Initializer normal(float std) {
  return [std](Tensor& t, Generator& g) { fill(t, [&] { return std * g.normal(); }); };
}

Initializer trunc_normal(float std) {
  return [std](Tensor& t, Generator& g) {
    fill(t, [&] {
      float x;
      do x = std * g.normal();
      while (std::abs(x) > 2);
      return x;
    });
  };
}

Initializer kaiming_uniform(float a) {
  return [a](Tensor& t, Generator& g) {
    const double bound = std::sqrt(6 / ((1 + a * a) * static_cast<double>(t.size(1)) * field(t)));
    fill(t, [&] { return static_cast<float>(g.uniform(-bound, bound)); });
  };
}

Initializer kaiming_normal_fan_out() {
  return [](Tensor& t, Generator& g) {
    const auto std = static_cast<float>(std::sqrt(2 / (static_cast<double>(t.size(0)) * field(t))));
    fill(t, [&] { return std * g.normal(); });
  };
}

}  // namespace usol::init
