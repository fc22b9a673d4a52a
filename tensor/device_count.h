#pragma once
// How many devices of a type this binary can use.

#include "usol/tensor/device.h"

namespace usol {

/// Devices of `type` that answer: 1 for the CPU; for CUDA 0 without a GPU, a driver or support in this binary.
int device_count(DeviceType type);
/// True if this binary was linked with support for `type`.
bool is_linked(DeviceType type);
/// Called once at start-up by tensor/cuda.
void register_device_count(DeviceType type, int (*count)());

}  // namespace usol
