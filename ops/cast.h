#pragma once
// Conversions between dtypes and devices that gradients flow through.

#include "usol/tensor/tensor.h"

namespace usol {

/// a in another dtype (itself if it has it already). The gradient, where both dtypes are floating, is cast back.
Tensor cast(const Tensor& a, DType dtype);
/// a on another device (itself if it is there already). The gradient is moved back.
Tensor to_device(const Tensor& a, Device device);

}  // namespace usol
