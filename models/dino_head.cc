#include "usol/models/dino_head.h"

#include "usol/ops/cast.h"
#include "usol/tensor/check.h"

namespace usol {
namespace {

DType wide(DType dtype) { return dtype == DType::kF64 ? dtype : DType::kF32; }

}  // namespace

DinoHead::DinoHead(const Scope& scope, std::int64_t width, const DinoHeadConfig& c)
    : first_(scope / "mlp" / "0", width, c.hidden),
      second_(scope / "mlp" / "2", c.hidden, c.hidden),
      third_(scope / "mlp" / "4", c.hidden, c.bottleneck),
      last_(scope / "last_layer", c.bottleneck, c.out, c.fixed_gain) {
  check(width > 0 && c.hidden > 0 && c.bottleneck > 0 && c.out > 0,
        "dino head: expected sizes above 0, got {}, {}, {} and {}", width, c.hidden, c.bottleneck, c.out);
}

Tensor DinoHead::project(const Tensor& x) const {
  const Tensor y = third_(second_(first_(x, Activation::kGelu), Activation::kGelu));
  return nn::unit_rows(cast(y, wide(y.dtype())));
}

Tensor DinoHead::scores(const Tensor& projected, DType dtype) const {
  return cast(last_(cast(projected, dtype)), wide(dtype));
}

}  // namespace usol
