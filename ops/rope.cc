#include "usol/ops/rope.h"

#include <cmath>
#include <numbers>

#include "usol/ops/cast.h"
#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/view.h"
#include "usol/tensor/check.h"

namespace usol {

Tensor rope(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  check(x.rank() == 4 && is_floating(x.dtype()) && x.size(3) % 2 == 0,
        "rope: expected floating queries or keys [N, H, L, D] with an even D, got {} {}", x.dtype(), x.shape());
  const std::int64_t tokens = x.size(2), width = x.size(3), half = width / 2;
  const bool wide = cos.dtype() == DType::kF32 || cos.dtype() == DType::kF64;
  check(cos.rank() == 2 && cos.size(0) <= tokens && cos.size(1) == width && sin.shape() == cos.shape() && wide &&
            sin.dtype() == cos.dtype() && cos.device() == x.device() && sin.device() == x.device(),
        "rope: expected cos and sin f32 or f64 [at most {}, {}] on {}, got {} {} on {} and {} {} on {}", tokens, width,
        x.device(), cos.dtype(), cos.shape(), cos.device(), sin.dtype(), sin.shape(), sin.device());
  const std::int64_t first = tokens - cos.size(0);
  const DType dtype = x.dtype() == DType::kF64 ? DType::kF64 : cos.dtype();
  const Tensor patches = cast(slice(x, 2, first, tokens), dtype);
  const Tensor turned = concat({neg(slice(patches, 3, half, width)), slice(patches, 3, 0, half)}, 3);
  const Tensor rotated = cast(add(mul(patches, cast(cos, dtype)), mul(turned, cast(sin, dtype))), x.dtype());
  return first == 0 ? rotated : concat({slice(x, 2, 0, first), rotated}, 2);
}

RopeTable rope_table(std::int64_t h, std::int64_t w, std::int64_t width, double base) {
  check(h > 0 && w > 0 && width > 0 && width % 4 == 0 && base > 0,
        "rope_table: expected patches, a width that four divides and a positive base, got {} x {}, {}, {}", h, w, width,
        base);
  RopeTable table{Tensor::empty({h * w, width}), Tensor::empty({h * w, width})};
  float *cos = table.cos.mutable_data<float>(), *sin = table.sin.mutable_data<float>();
  const std::int64_t periods = width / 4;
  const auto place = [](std::int64_t i, std::int64_t n) {
    return 2 * (static_cast<double>(i) + 0.5) / static_cast<double>(n) - 1;
  };
  for (std::int64_t r = 0; r < h; ++r)
    for (std::int64_t c = 0; c < w; ++c)
      for (std::int64_t k = 0; k < width; ++k) {
        const std::int64_t of_half = k % (width / 2), i = of_half % periods;
        const double period = std::pow(base, static_cast<double>(i) / static_cast<double>(periods));
        const double angle = 2 * std::numbers::pi * (of_half < periods ? place(r, h) : place(c, w)) / period;
        *cos++ = static_cast<float>(std::cos(angle));
        *sin++ = static_cast<float>(std::sin(angle));
      }
  return table;
}

}  // namespace usol
