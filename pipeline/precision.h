#pragma once
// Which arithmetic a device and this build have for matrix products and convolutions.

#include <string>
#include <vector>

#include "usol/tensor/device.h"
#include "usol/tensor/dtype.h"

namespace usol {

/// The names of all: "f32", "tf32", "bf16", "f16", and "auto".
inline const std::vector<std::string> kPrecisions = {"f32", "tf32", "bf16", "f16", "auto"};

/// Run::precision of that name. "auto" is bf16 where the device multiplies it itself, f32 elsewhere and for a job that
/// `trains` on a CPU, where gradients gain nothing from bf16. Throws Error(kUnsupported) saying what this device, CPU
/// or build lacks.
DType precision_on(const Device& device, const std::string& name, bool trains = false);

}  // namespace usol
