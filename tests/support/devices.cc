#include "tests/support/devices.h"

#include "usol/tensor/device_count.h"
#include "usol/tensor/error.h"

namespace usol::test {

bool cuda_available() { return device_count(DeviceType::kCuda) > 0; }
bool cuda_linked() { return is_linked(DeviceType::kCuda); }

}  // namespace usol::test
