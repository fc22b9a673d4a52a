#include "usol/tensor/kernel.h"

namespace usol {

std::vector<KernelSlot>& filled_kernel_slots() {
  static std::vector<KernelSlot> slots;
  return slots;
}

}  // namespace usol
