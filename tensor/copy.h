#pragma once
// The two kernels the storage layer itself needs: strided, casting copies and fills.

#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// dst[i] = cast(src[i]); equal shapes, any strides and dtypes, both on the kernel's device.
extern Kernel<void(const Tensor& src, Tensor& dst)> copy_kernel;
/// dst[i] = cast(value); any strides and dtype.
extern Kernel<void(double value, Tensor& dst)> fill_kernel;
/// Dense bytes between the host and a device other than the CPU, in either direction; synchronous for the host side.
/// Registered under the other device.
extern Kernel<void(void* dst, const void* src, std::size_t bytes, bool to_device)> transfer_kernel;

}  // namespace usol
