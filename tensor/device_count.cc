#include "usol/tensor/device_count.h"

namespace usol {
namespace {

int (*cuda_count)() = nullptr;

}  // namespace

int device_count(DeviceType type) {
  if (type == DeviceType::kCpu) return 1;
  return cuda_count ? cuda_count() : 0;
}
bool is_linked(DeviceType type) { return type == DeviceType::kCpu || cuda_count != nullptr; }
void register_device_count(DeviceType type, int (*count)()) {
  if (type == DeviceType::kCuda) cuda_count = count;
}

}  // namespace usol
