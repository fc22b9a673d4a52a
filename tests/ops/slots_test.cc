// Every kernel has a slot for every device that the link supports, and docs/gpu-status.md lists all CUDA kernels.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>

#include "tests/support/golden.h"
#include "usol/tensor/device_count.h"
#include "usol/tensor/kernel.h"

namespace usol::test {
namespace {

std::multiset<std::string> slots_of(DeviceType type) {
  std::multiset<std::string> names;
  for (const KernelSlot& slot : filled_kernel_slots())
    if (slot.device == type) names.insert(slot.name);
  return names;
}

TEST(Slots, NoSlotIsFilledTwice) {
  for (DeviceType type : kAllDeviceTypes) {
    const auto names = slots_of(type);
    for (const std::string& name : names) EXPECT_EQ(names.count(name), 1u) << name << " on " << name_of(type);
  }
  EXPECT_GT(slots_of(DeviceType::kCpu).size(), 10u);
}

// Kernels that one device type has no use for.
const std::set<std::string> kOnlyCuda = {
    "transfer",  // between the host and another device
                 // Batches of eigenproblems: the host solves one at a time (maskcut/krylov.cc).
    "krylov_grow", "krylov_restart", "krylov_take"};
const std::set<std::string> kOnlyCpu = {};

TEST(CudaSlots, EveryCpuKernelHasACudaKernel) {
  if (!is_linked(DeviceType::kCuda)) GTEST_SKIP() << "no CUDA in this link";
  const auto cpu = slots_of(DeviceType::kCpu), cuda = slots_of(DeviceType::kCuda);
  for (const std::string& name : cpu) EXPECT_TRUE(cuda.contains(name) != kOnlyCpu.contains(name)) << name;
  for (const std::string& name : cuda) EXPECT_TRUE(cpu.contains(name) != kOnlyCuda.contains(name)) << name;
}

// Lines "| `name` | ... | ... |" under the heading "Kernels".
TEST(CudaSlots, GpuStatusListsThem) {
  if (!is_linked(DeviceType::kCuda)) GTEST_SKIP() << "no CUDA in this link";
  std::ifstream in(source_path("docs/gpu-status.md"));
  ASSERT_TRUE(in) << "docs/gpu-status.md is missing";
  std::map<std::string, int> listed;
  bool kernels = false;
  const std::regex row("^\\| `([a-z0-9_]+)` \\|[^|]+\\|[^|]+\\|$");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("## ")) kernels = line == "## Kernels";
    std::smatch match;
    if (kernels && std::regex_match(line, match, row)) ++listed[match[1]];
  }
  for (const std::string& name : slots_of(DeviceType::kCuda)) EXPECT_EQ(listed[name], 1) << name;
  for (const auto& [name, times] : listed)
    EXPECT_TRUE(slots_of(DeviceType::kCuda).contains(name)) << name << " is listed, but no such kernel exists";
}

}  // namespace
}  // namespace usol::test
