#include "usol/ops/cast.h"

#include "usol/autograd/tape.h"

namespace usol {

Tensor cast(const Tensor& a, DType dtype) {
  if (a.dtype() == dtype) return a;
  const Tensor out = a.detach().to(dtype);
  if (!is_floating(a.dtype()) || !is_floating(dtype)) return out;
  return record("cast", {a}, out,
                [from = a.dtype()](const Tensor& grad, const Needs&) { return std::vector<Tensor>{grad.to(from)}; });
}

Tensor to_device(const Tensor& a, Device device) {
  if (a.device() == device) return a;
  return record("to_device", {a}, a.detach().to(device),
                [from = a.device()](const Tensor& grad, const Needs&) { return std::vector<Tensor>{grad.to(from)}; });
}

}  // namespace usol
